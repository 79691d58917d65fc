"""`trainserve train --checkpoint`, killed again and again: what comes out is what an undisturbed run gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from nn import npz
from service.commands import train
from service.main import main
from tests.integration.support import JSON, environment

TrainServe = Callable[..., tuple[int, str, str]]

# The command itself, with a checkpoint of every epoch, and with MNIST's first pictures for all of them.
COMMAND = """
import sys
from dataclasses import replace
from nn import datasets
from nn.datasets import DATASETS, Table
from service.commands import train
from service.main import main

def load():
    table = mnist.load()
    return Table(table.inputs[:400], table.targets[:400])

mnist = DATASETS["mnist"]
DATASETS["mnist"] = replace(mnist, load=load, n_samples=400, n_test=100)
train.CHECKPOINT_SECONDS = 0
main(sys.argv[1:])
"""
CONVOLUTIONAL: JSON = {
    "dataset": "mnist",
    "network": {
        "layers": [
            *({"type": "conv2d", "filters": 4, "padding": "same"}, {"type": "batch_norm"}, {"type": "relu"}),
            *({"type": "max_pool2d"}, {"type": "conv2d", "filters": 8}, {"type": "gelu"}),
            *({"type": "flatten"}, {"type": "dropout", "rate": 0.2}, {"type": "dense", "units": 10}),
        ]
    },
    "training": {
        "epochs": 16,
        "optimizer": {"type": "adamw"},
        "schedule": {"type": "one_cycle"},
        "augmentation": {"shift": 1, "elastic": 0.5},
    },
}
EARLY_STOPPED: JSON = {
    "dataset": "heart",
    "network": {
        "layers": [
            *({"type": "dense", "units": 16}, {"type": "batch_norm"}, {"type": "relu"}),
            *({"type": "dropout", "rate": 0.3}, {"type": "dense", "units": 1}),
        ]
    },
    "training": {
        "epochs": 10_000,
        "batch_size": 4,
        "optimizer": {"type": "adam", "learning_rate": 0.001},
        "schedule": {"type": "reduce_on_plateau", "patience": 8, "factor": 0.7},
        "early_stopping": {"patience": 25},
    },
}


@dataclass
class Training:
    """Runs the command in a directory of its own, in which `run.json` says what is trained."""

    home: Path
    body: JSON

    def __post_init__(self) -> None:
        self.home.mkdir()
        (self.home / "run.json").write_text(json.dumps(self.body))

    def start(self, *arguments: str, **settings: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, "train", "--spec", "run.json", "--output", "model.npz", *arguments],
            cwd=self.home,
            env=environment(**settings) | {"OPENBLAS_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, *arguments: str, **settings: object) -> tuple[int, str, str]:
        """Its exit code and what it wrote."""
        with self.start(*arguments, **settings) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def killed_behind(self, epoch: int, *arguments: str, **settings: object) -> int:
        """Waits until it has told of an epoch, and kills it; the first epoch that it told of."""
        told: list[int] = []
        with self.start(*arguments, **settings) as process:
            assert process.stdout is not None
            try:
                while epoch not in told and (line := process.stdout.readline()):
                    told += epochs_in(line)
            finally:
                process.kill()
        assert process.returncode == -9, "it has ended before"
        return told[0]

    def kept(self) -> int:
        """How many epochs the checkpoint knows; 0 where there is none yet."""
        checkpoint = self.home / "run.ckpt.npz"
        if not checkpoint.exists():
            return 0
        with npz.opened(checkpoint.read_bytes(), "checkpoint") as reader:
            return len(reader.metadata()["epochs"])

    def artifact(self) -> bytes:
        return (self.home / "model.npz").read_bytes()


def epochs_in(out: str) -> list[int]:
    """The numbers of the epochs that lines of the command's table tell of."""
    return [int(line.split()[0]) for line in out.splitlines() if line.split() and line.split()[0].isdigit()]


def undisturbed(home: Path, body: JSON) -> tuple[bytes, list[JSON]]:
    """The artifact and the epochs of a run that nobody disturbs."""
    training = Training(home, body)
    code, out, err = training.finish("--json", training_threads=1)
    assert code == 0, err
    epochs: list[JSON] = json.loads(out)["epochs"]
    return training.artifact(), epochs


def without_seconds(epochs: list[JSON]) -> list[Any]:
    return [{name: value for name, value in row.items() if name != "seconds"} for row in epochs]


@pytest.mark.parametrize(
    ("body", "kills", "threads"),
    [(CONVOLUTIONAL, (1, 6), (3, 2)), (EARLY_STOPPED, (2, 12, 22), (1, 1, 1))],
    ids=["convolutional", "early stopped"],
)
def test_killed_and_started_again_until_it_ends_it_gives_the_same_bytes(
    body: JSON, kills: tuple[int, ...], threads: tuple[int, ...], tmp_path: Path
) -> None:
    expected, epochs = undisturbed(tmp_path / "undisturbed", body)
    assert len(epochs) > kills[-1] + 1
    training = Training(tmp_path / "killed", body)
    keep = ("--checkpoint", "run.ckpt.npz")
    done = 0
    for epoch, n_threads in zip(kills, threads, strict=True):
        begun = training.killed_behind(epoch, *keep, training_threads=n_threads)
        assert begun == done + 1, "it goes on from where it was"
        assert not (training.home / "model.npz").exists()
        done = training.kept()
        assert done >= epoch - 1, "an epoch is told before it is kept"
    code, out, err = training.finish(*keep, training_threads=1)
    assert code == 0, err
    assert epochs_in(out) == list(range(done + 1, len(epochs) + 1))
    assert training.artifact() == expected

    code, out, err = training.finish(*keep, "--json")
    assert code == 0, err
    assert without_seconds(json.loads(out)["epochs"]) == without_seconds(epochs)
    assert training.artifact() == expected, "also from the checkpoint of a run that has ended"


class TestRefused:
    """A checkpoint that is not this run's: one line with the remedy, and nothing is written or taken away."""

    @pytest.fixture
    def checkpoint(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trainserve: TrainServe) -> Path:
        """That of a run which has ended, in the working directory."""
        monkeypatch.setattr(train, "CHECKPOINT_SECONDS", 0)
        code, _, err = trainserve()
        assert code == 0, err
        (tmp_path / "model.npz").unlink()
        return tmp_path / "run.ckpt.npz"

    @pytest.fixture
    def trainserve(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> TrainServe:
        """Trains by the command in this process; its exit code, and what it wrote."""
        monkeypatch.chdir(tmp_path)

        def run(*arguments: str) -> tuple[int, str, str]:
            command = ["train", "heart", "--epochs", "3", "--output", "model.npz", "--checkpoint", "run.ckpt.npz"]
            with patch.dict(os.environ, environment(), clear=True), pytest.raises(SystemExit) as ended:
                main([*command, *arguments])
            return int(ended.value.code or 0), *capsys.readouterr()

        return run

    def complaint(self, trainserve: TrainServe, checkpoint: Path, *arguments: str) -> str:
        kept = checkpoint.read_bytes()
        code, out, err = trainserve(*arguments)
        assert (code, out) == (1, "")
        assert checkpoint.read_bytes() == kept
        assert [path.name for path in checkpoint.parent.iterdir()] == [checkpoint.name]
        (line,) = err.splitlines()
        assert line.startswith("trainserve: ")
        return line

    def test_of_another_run(self, trainserve: TrainServe, checkpoint: Path) -> None:
        line = self.complaint(trainserve, checkpoint, "--seed", "2")
        assert "#/training/seed: 1 there, 2 here" in line
        assert "resume that one, or start this one without a checkpoint" in line

    def test_of_another_description(self, trainserve: TrainServe, checkpoint: Path) -> None:
        body = checkpoint.parent.parent / f"{checkpoint.parent.name}.json"
        body.write_text(json.dumps({"dataset": "heart", "training": {"optimizer": {"type": "adam"}}}))
        line = self.complaint(trainserve, checkpoint, "--spec", str(body))
        assert "#/training/optimizer/type: 'sgd' there, 'adam' here" in line

    def test_that_is_cut(self, trainserve: TrainServe, checkpoint: Path) -> None:
        checkpoint.write_bytes(checkpoint.read_bytes()[:-30])
        assert "not a whole .npz file" in self.complaint(trainserve, checkpoint)

    def test_that_is_none(self, trainserve: TrainServe, checkpoint: Path) -> None:
        checkpoint.write_text("{}")
        assert "not a whole .npz file" in self.complaint(trainserve, checkpoint)

    def test_that_is_an_artifact(self, trainserve: TrainServe, checkpoint: Path, pretrained: Path) -> None:
        (artifact,) = (pretrained / "heart" / "1").glob("*.npz")
        checkpoint.write_bytes(artifact.read_bytes())
        assert "expected a checkpoint" in self.complaint(trainserve, checkpoint)

    def test_a_place_that_is_none_is_told_before_the_training(self, trainserve: TrainServe) -> None:
        code, out, err = trainserve("--checkpoint", "nowhere/run.ckpt.npz")
        assert (code, out) == (1, "")
        assert "nowhere/run.ckpt.npz cannot be written" in err
