from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nn import datasets
from nn.datasets import DATASETS, Table


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def mnist() -> Table:
    return datasets.get("mnist").load()


@pytest.fixture
def few_digits(mnist: Table, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a data set that is MNIST's first 130 pictures, 30 of them for the test."""
    table = Table(mnist.inputs[:130], mnist.targets[:130])
    few = replace(DATASETS["mnist"], name="few-digits", load=lambda: table, n_samples=130, n_test=30)
    monkeypatch.setitem(DATASETS, few.name, few)
    return few.name
