"""The training process as its parent sees it: JSON lines, an artifact, and an end when nobody listens any more."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import nn
from nn.schema import to_json
from service.resources import cores

Child = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def child() -> Iterator[Child]:
    """Starts a training process with what stands on the first line of its input."""
    started: list[subprocess.Popen[bytes]] = []

    def start(spec: object, *arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "service.training", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdin
        process.stdin.write(json.dumps(spec).encode() + b"\n")
        process.stdin.flush()
        return process

    yield start
    for process in started:
        process.kill()
        with process:  # closes its pipes
            process.wait()


def described(dataset: str = "toy-regression", **training: Any) -> Any:
    return to_json(nn.complete(dataset, training=training))


def pictures(**training: Any) -> Any:
    """A run over a tenth of MNIST, of a network with a layer for pictures."""
    layers = [{"type": "conv2d", "filters": 2, "stride": 4}, {"type": "flatten"}, {"type": "dense", "units": 10}]
    fields = {"batch_size": 100, "validation_fraction": 0.9, **training}
    return to_json(nn.complete("mnist", {"layers": layers}, fields))


def messages(process: subprocess.Popen[bytes]) -> Iterator[tuple[dict[str, Any], bytes]]:
    """What it tells, each with the bytes that follow."""
    assert process.stdout
    for line in process.stdout:
        message = json.loads(line)
        yield message, process.stdout.read(message.get("size", 0))


def test_a_run_from_its_first_epoch_to_its_artifact(child: Child) -> None:
    process = child(described(epochs=3))
    told = list(messages(process))
    rows = [row for message, _ in told if message["type"] == "epochs" for row in message["rows"]]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    progress = [message["progress"] for message, _ in told if message["type"] == "progress"]
    percents = [state["percent"] for state in progress]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert progress[-1] | {"loss": rows[-1]["loss"], "epoch": 3, "epochs": 3} == progress[-1]
    last, artifact = told[-1]
    assert (last["type"], last["size"], last["best_epoch"]) == ("artifact", len(artifact), 3)
    assert last["metrics"] == nn.loads(artifact).metadata.metrics
    assert process.wait(10) == 0


def test_a_run_that_an_earlier_release_has_queued(child: Child) -> None:
    """Its description has none of the fields that came later."""
    described = {
        "dataset": "toy-regression",
        "network": {"layers": [{"type": "dense", "units": 1, "initializer": "he"}], "dtype": "float32"},
        "training": {
            "loss": "mean_squared_error",
            "epochs": 2,
            "batch_size": 64,
            "seed": 1,
            "validation_fraction": 0.1,
            "optimizer": {"type": "sgd", "learning_rate": 0.05, "momentum": 0.9, "nesterov": False},
            "early_stopping": None,
        },
    }
    last, artifact = list(messages(child(described)))[-1]
    assert last["type"] == "artifact"
    assert nn.loads(artifact).metadata.spec.training.epochs == 2


def test_a_run_that_diverges_tells_its_epoch(child: Child) -> None:
    process = child(described(epochs=3, optimizer={"type": "sgd", "learning_rate": 1000}))
    ((message, _),) = [told for told in messages(process) if told[0]["type"] != "progress"]
    assert (message["type"], message["code"], message["epoch"]) == ("error", "diverged", 1)
    assert process.wait(10) == 0


class TestThreads:
    def test_pictures_are_shared_and_the_artifact_is_the_same_bit_for_bit(self, child: Child) -> None:
        children = [child(pictures(epochs=1), *arguments) for arguments in (("1",), ("3",), ())]
        artifacts = [list(messages(process))[-1][1] for process in children]
        assert len(artifacts[0]) > 1000
        assert artifacts[0] == artifacts[1] == artifacts[2]

    @pytest.mark.parametrize(
        ("spec", "arguments", "expected"),
        [
            (pictures(epochs=1000), ("3",), 3),
            (pictures(epochs=1000), ("1",), 1),
            (pictures(epochs=1000), (), cores()),
            (described("mnist", epochs=1000), (), 1),
        ],
        ids=["pictures by three", "pictures by one", "pictures by all cores", "dense by one"],
    )
    def test_are_as_many_as_asked_or_as_cores(
        self, spec: Any, arguments: tuple[str, ...], expected: int, child: Child, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
        process = child(spec, *arguments)
        tasks = Path(f"/proc/{process.pid}/task")
        if not tasks.exists():
            pytest.skip("counts threads in /proc")
        told = (message for message, _ in messages(process))
        assert next(message for message in told if message.get("progress", {}).get("step"))
        waits_for_its_parent = 1
        deadline = time.monotonic() + 10
        while (found := len(list(tasks.iterdir()))) != expected + waits_for_its_parent:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)


def test_it_leaves_when_its_parent_does(child: Child) -> None:
    process = child(described("mnist", epochs=10_000))
    assert next(messages(process))[0]["type"] == "progress"
    assert process.stdin
    process.stdin.close()
    assert process.wait(5) == 1


def test_a_description_that_cannot_be_read_is_an_end_without_a_message(child: Child) -> None:
    process = child({"dataset": "heart"})
    assert list(messages(process)) == []
    assert process.wait(10) != 0
    assert process.stderr
    assert b"SpecError" in process.stderr.read()
