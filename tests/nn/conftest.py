from __future__ import annotations

import numpy as np
import pytest

from nn import datasets
from nn.datasets import Table


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def mnist() -> Table:
    return datasets.get("mnist").load()
