"""What a data set is: a description that costs nothing, and the data once it is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from nn.features import Features
from nn.losses import Loss
from nn.schema import Range
from nn.spec import NetworkSpec, TaskName, TrainingSpec


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is to be told of a sample: one of `labels`, or for a regression `n_values` numbers."""

    name: TaskName
    labels: tuple[int | str, ...] = ()
    n_values: Annotated[int, Range(minimum=0, maximum=1_000_000)] = 0

    def __post_init__(self) -> None:
        least = {"classification": 2, "binary_classification": 2, "regression": 0}[self.name]
        if len(self.labels) < least or (self.name == "regression") != (self.n_values > 0):
            raise ValueError("a classification needs at least two labels, a regression at least one value")
        if any(isinstance(label, int) and abs(label) >= 2**53 for label in self.labels):
            raise ValueError("a label that is a number must be below 2**53, as JSON's readers have it")

    def n_outputs(self, loss: Loss) -> int:
        """How many logits a network for this task ends in."""
        return 1 if loss.one_output else len(self.labels) or self.n_values


@dataclass(frozen=True)
class Table:
    """The loaded data.

    `inputs` is `(n_samples, …)`, raw; `targets` `(n_samples,)` class numbers, or `(n_samples, n_values)`.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]

    def sha256(self) -> str:
        """The digest of inputs, targets and their shapes."""
        digest = hashlib.sha256()
        for array in (self.inputs, self.targets):
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set by name: what goes in, what is asked, and the network and training that do well on it.

    The last `n_test` samples are the data set's own test set; where that is 0, each run draws `test_fraction` of all.
    """

    name: str
    task: Task
    features: Features
    load: Callable[[], Table]
    n_samples: int
    n_test: int = 0
    network: NetworkSpec
    training: TrainingSpec
    test_fraction: float = 0.2
