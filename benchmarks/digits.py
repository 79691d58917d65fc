"""The pictures that every contender trains on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from nn import datasets
from nn.datasets import Table


@dataclass(frozen=True)
class Digits:
    """Training pictures of MNIST as bytes, and one more picture at the end of the table; `n_bytes` are in memory.

    That one is the test split of the table, without which `nn.train` does not train; the others leave it out.
    """

    table: Table
    n_bytes: int

    @property
    def pictures(self) -> NDArray[Any]:
        """`(n_samples, 784)` of uint8."""
        return self.table.inputs[:-1]

    @property
    def labels(self) -> NDArray[Any]:
        """`(n_samples,)` of class numbers."""
        return self.table.targets[:-1]


def load(n_samples: int) -> Digits:
    """The first `n_samples` of the 60,000, as a view: the whole data set stays in memory, as in any training run."""
    table = datasets.get("mnist").load()
    view = Table(table.inputs[: n_samples + 1], table.targets[: n_samples + 1])
    return Digits(view, table.inputs.nbytes + table.targets.nbytes)
