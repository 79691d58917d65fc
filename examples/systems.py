"""The example systems: each is trained through the `trainserve` command and held against what must come out."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SEEDS = (1, 2, 3)
SPLITS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Outcome:
    """What came out of a system, what must, and whether it does. A limit on the time is judged by `in_time`."""

    system: str
    told: str
    wanted: str
    met: bool
    in_time: bool = True


def trainserve(*arguments: str) -> dict[str, Any]:
    """What a `trainserve` command, in a process of its own, prints as JSON."""
    command = [sys.executable, "-m", "service.main", *arguments, "--json"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603  (our own command)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def train(spec: str, output: Path, *arguments: str) -> dict[str, Any]:
    return trainserve("train", "--spec", str(HERE / spec), "--output", str(output), *arguments)


def accuracy_of(told: dict[str, Any]) -> float:
    return float(told["metrics"]["test_accuracy"])


def mnist_original(work: Path) -> Outcome:
    """784-64-10 with standard-normal weights, as it was first built: 0.919."""
    found = [accuracy_of(train("mnist-original.json", work / "original.npz", "--seed", str(seed))) for seed in SEEDS]
    told = ", ".join(f"{accuracy:.4f}" for accuracy in found)
    return Outcome("MNIST, 784-64-10", f"test accuracy {told} (seeds 1, 2, 3)", "each ≥ 0.91", min(found) >= 0.91)


def mnist_plateau(work: Path) -> Outcome:
    """Trained until the validation loss is on a plateau, saved, loaded by another process and tested."""
    path = work / "plateau.npz"
    trained = train("mnist-plateau.json", path)
    here, there = accuracy_of(trained), accuracy_of(trainserve("evaluate", str(path)))
    epochs, limit = len(trained["epochs"]), json.loads((HERE / "mnist-plateau.json").read_text())["training"]["epochs"]
    told = f"test accuracy {here:.4f}, in another process {there:.4f}, after {epochs} epochs"
    return Outcome("MNIST until a plateau", told, "the same", here == there and epochs < limit)


def heart(work: Path) -> Outcome:
    """Binary classification of 13 columns, one hidden layer of 8."""
    found = [accuracy_of(train("heart.json", work / "heart.npz", "--seed", str(seed))) for seed in SPLITS]
    mean = statistics.mean(found)
    return Outcome(
        "heart, 13 columns, 8 hidden", f"mean test accuracy {mean:.4f} over 5 splits", "≥ 0.80", mean >= 0.80
    )


def toy_regression(work: Path) -> Outcome:
    """The same network with its activations and without."""
    plot = work / "toy-regression.png"
    curved = train("toy-nonlinear.json", work / "toy.npz", "--plot", str(plot))["epochs"][-1]["loss"]
    straight = train("toy-linear.json", work / "toy.npz")["epochs"][-1]["loss"]
    told = f"loss {curved:.5f}, without activations {straight:.5f}: {curved / straight:.3f} of it"
    return Outcome("toy regression, 1-16-16-1", told, "≤ 0.1", curved <= straight / 10 and plot.exists())


def mnist_default(work: Path) -> Outcome:
    """Nothing but the name of the data set."""
    started = time.perf_counter()
    accuracy = accuracy_of(trainserve("train", "mnist", "--output", str(work / "default.npz")))
    seconds = time.perf_counter() - started
    told = f"test accuracy {accuracy:.4f} in {seconds:.0f} s"
    return Outcome('{"dataset": "mnist"}', told, "≥ 0.98 in < 60 s", accuracy >= 0.98, seconds < 60)


def mnist_dropout(work: Path) -> Outcome:
    """784-512-512-10 with dropout: 0.9840 in Keras' `mnist_mlp`."""
    accuracy = accuracy_of(train("mnist-dropout.json", work / "dropout.npz"))
    return Outcome("MNIST, 784-512-512-10, dropout", f"test accuracy {accuracy:.4f}", "≥ 0.984", accuracy >= 0.984)


def mnist_convnet(work: Path) -> Outcome:
    """A small convolutional network."""
    told = train("mnist-convnet.json", work / "convnet.npz")
    accuracy, seconds = accuracy_of(told), sum(epoch["seconds"] for epoch in told["epochs"])
    shown = f"test accuracy {accuracy:.4f} after {seconds:.0f} s of training"
    return Outcome("MNIST, small convolutional", shown, "≥ 0.990 in ≤ 60 s", accuracy >= 0.99, seconds <= 60)


def mnist_shipped(work: Path) -> Outcome:
    """The shipped model, trained again."""
    told = train("mnist-shipped.json", work / "shipped.npz")
    accuracy, seconds = accuracy_of(told), sum(epoch["seconds"] for epoch in told["epochs"])
    shown = f"test accuracy {accuracy:.4f} after {seconds / 60:.0f} min of training"
    return Outcome("MNIST, as shipped", shown, "≥ 0.995 in ≤ 30 min", accuracy >= 0.995, seconds <= 1800)


SYSTEMS = (mnist_original, mnist_plateau, heart, toy_regression, mnist_default)
ACCURATE = (mnist_dropout, mnist_convnet, mnist_shipped)
