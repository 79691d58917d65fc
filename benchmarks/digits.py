"""The pictures that every contender trains on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases import N_PICTURES
from nn import datasets
from nn.datasets import Table


@dataclass(frozen=True)
class Digits:
    """Training pictures of MNIST as bytes, and one more picture at the end of the table.

    That one is the test split of the table, without which `nn.train` does not train; the others leave it out.
    """

    table: Table

    @property
    def pictures(self) -> NDArray[Any]:
        """`(n_samples, 784)` of uint8."""
        return self.table.inputs[:-1]

    @property
    def labels(self) -> NDArray[Any]:
        """`(n_samples,)` of class numbers."""
        return self.table.targets[:-1]

    @property
    def n_bytes(self) -> int:
        return self.table.inputs.nbytes + self.table.targets.nbytes


def load(n_samples: int) -> Digits:
    """The first `n_samples` of the 60,000."""
    table = datasets.get("mnist").load()
    rows = np.append(np.arange(n_samples), N_PICTURES)
    return Digits(Table(table.inputs[rows], table.targets[rows]))
