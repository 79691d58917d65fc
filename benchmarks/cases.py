"""What is trained in the training benchmark, by whom, and what must come out; free of NumPy.

A measuring process reads this before it says how many threads BLAS gets, and BLAS reads that once, with NumPy's import.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Layer = dict[str, Any]
Shape = tuple[int, ...]
Clock = Callable[[], float]

PICTURE: Shape = (28, 28, 1)
N_PICTURES = 60_000
N_CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class Case:
    """One network and its training, as `nn` reads them.

    `n_samples` pictures are an epoch of the measurement; an epoch of all 60,000 is reckoned from it. The first of
    `epochs + 1` epochs warms up and does not count.
    """

    name: str
    title: str
    layers: tuple[Layer, ...]
    batch_size: int
    optimizer: dict[str, Any]
    contenders: tuple[str, ...] = ("nn", "floor", "pytorch", "scikit-learn")
    n_samples: int = N_PICTURES
    epochs: int = 1

    @property
    def is_convolutional(self) -> bool:
        return any(layer["type"] == "conv2d" for layer in self.layers)


def dense(*units: int) -> tuple[Layer, ...]:
    """Fully connected layers with a ReLU between each two."""
    described: list[Layer] = []
    for width in units:
        described += [{"type": "dense", "units": width}, {"type": "relu"}]
    return tuple(described[:-1])


def convolutional(*filters: int) -> tuple[Layer, ...]:
    """3×3 convolutions, each with a ReLU and a 2×2 max pool, and one dense layer."""
    described: list[Layer] = []
    for n_filters in filters:
        described += [
            {"type": "conv2d", "filters": n_filters, "kernel_size": 3, "padding": "valid"},
            {"type": "relu"},
            {"type": "max_pool2d", "pool_size": 2},
        ]
    return (*described, {"type": "flatten"}, {"type": "dense", "units": N_CLASSES})


def shapes(layers: tuple[Layer, ...]) -> Iterator[tuple[Layer, Shape, Shape]]:
    """Each layer with the shape of one sample that comes in, `(height, width, channels)` or `(n,)`, and goes out."""
    shape = PICTURE
    for layer in layers:
        match layer["type"]:
            case "dense":
                after: Shape = (layer["units"],)
            case "conv2d":
                shrink = layer["kernel_size"] - 1
                after = (shape[0] - shrink, shape[1] - shrink, layer["filters"])
            case "max_pool2d":
                after = (shape[0] // layer["pool_size"], shape[1] // layer["pool_size"], shape[2])
            case "flatten":
                after = (math.prod(shape),)
            case _:
                after = shape
        yield layer, shape, after
        shape = after


A = Case(
    name="A",
    title="784-64-10, batch 16, SGD",
    layers=dense(64, N_CLASSES),
    batch_size=16,
    optimizer={"type": "sgd", "learning_rate": 0.08},
    epochs=3,
)
ADAM = Case(
    name="Adam",
    title="784-64-10, batch 16, Adam",
    layers=A.layers,
    batch_size=A.batch_size,
    optimizer={"type": "adam", "learning_rate": 0.001},
    epochs=3,
)
B = Case(
    name="B",
    title="784-512-512-10, batch 128, SGD",
    layers=dense(512, 512, N_CLASSES),
    batch_size=128,
    optimizer={"type": "sgd", "learning_rate": 0.1},
    n_samples=30_000,
)
C = Case(
    name="C",
    title="conv 32 - pool - conv 64 - pool - dense 10, batch 128, SGD",
    layers=convolutional(32, 64),
    batch_size=128,
    optimizer={"type": "sgd", "learning_rate": 0.05},
    contenders=("nn", "floor", "pytorch", "pytorch-tuned"),
    n_samples=12_000,
)
CASES = {case.name: case for case in (A, B, C, ADAM)}

# Seconds that pass, or seconds that the processor works for the process. These tell one thread on a busy machine well,
# and nothing about several threads, which wait for each other at work.
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "processor": time.process_time}

# The name of a contender, and the module that measures it.
CONTENDERS = {
    "nn": "benchmarks.contenders.trainserve",
    "floor": "benchmarks.contenders.floor",
    "pytorch": "benchmarks.contenders.pytorch",
    "pytorch-tuned": "benchmarks.contenders.pytorch_tuned",
    "pytorch-dataloader": "benchmarks.contenders.pytorch_dataloader",
    "scikit-learn": "benchmarks.contenders.scikit_learn",
}


@dataclass(frozen=True)
class Target:
    """`nn` takes at most `limit` of the time of `other` in a case, at each of these numbers of threads."""

    case: str
    other: str
    limit: float
    threads: tuple[int, ...] = field(default=(1, 2))


TARGETS = (
    Target("A", "floor", 1.4),
    Target("A", "pytorch", 1 / 4),
    Target("A", "scikit-learn", 1 / 3),
    Target("B", "floor", 1.08),
    Target("C", "pytorch", 0.8, threads=(2,)),
    Target("Adam", "pytorch", 1 / 3),
)
