from __future__ import annotations

import numpy as np
import pytest

from nn import SpecError, complete, datasets
from nn.datasets import DATASETS, Dataset, Table, Task
from nn.spec import TaskName

each_dataset = pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)


@each_dataset
def test_what_is_described_is_what_is_loaded(dataset: Dataset) -> None:
    table = dataset.load()
    assert len(table.inputs) == len(table.targets) == dataset.n_samples
    if dataset.task.name == "regression":
        assert table.targets.shape == (dataset.n_samples, dataset.task.n_values)
    else:
        assert set(np.unique(table.targets)) == set(range(len(dataset.task.labels)))
    raw = table.inputs[:5]
    encoded = np.full((5, dataset.features.n_inputs), np.nan)
    dataset.features.encode(raw, encoded)
    assert np.isfinite(encoded[~np.isnan(raw).any(axis=1)]).all()


@each_dataset
def test_its_own_network_and_training_can_be_carried_out(dataset: Dataset) -> None:
    assert complete(dataset.name).training == dataset.training


def test_get_by_name() -> None:
    assert datasets.get("toy_regression") is datasets.get("toy-regression")
    with pytest.raises(SpecError, match="#/dataset: no data set 'iris'; there are mnist, heart, toy-regression"):
        datasets.get("iris")


def test_the_digest_tells_values_shapes_and_dtypes_apart() -> None:
    x, y = np.arange(6.0).reshape(3, 2), np.arange(3)
    tables = [
        Table(x, y),
        Table(x + 1, y),
        Table(x, y + 1),
        Table(x.reshape(2, 3), y),
        Table(x.view(np.int64), y),
    ]
    assert len({table.sha256() for table in tables}) == len(tables)
    assert Table(np.asfortranarray(x), y.copy()).sha256() == Table(x, y).sha256()


@pytest.mark.parametrize(
    ("name", "labels", "n_values"),
    [
        ("classification", (), 0),
        ("classification", ("a",), 0),
        ("classification", ("a", "b"), 1),
        ("binary_classification", (1,), 0),
        ("regression", (), 0),
    ],
)
def test_a_task_has_something_to_tell(name: TaskName, labels: tuple[str, ...], n_values: int) -> None:
    with pytest.raises(ValueError, match="at least two labels, a regression at least one value"):
        Task(name=name, labels=labels, n_values=n_values)
