"""The data sets that ship with the package: described at once, loaded when asked for."""

from __future__ import annotations

from nn.datasets.dataset import Dataset, Table, Task
from nn.datasets.heart import HEART
from nn.datasets.mnist import MNIST
from nn.datasets.toy_regression import TOY_REGRESSION
from nn.errors import SpecError

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in (MNIST, HEART, TOY_REGRESSION)}


def get(name: str) -> Dataset:
    """The data set of that name, `_` and `-` alike. Raises `SpecError` where there is none."""
    try:
        return DATASETS[name.replace("_", "-")]
    except KeyError:
        raise SpecError.at("#/dataset", f"no data set {name[:60]!r}; there are {', '.join(DATASETS)}") from None


__all__ = ["DATASETS", "Dataset", "Table", "Task", "get"]
