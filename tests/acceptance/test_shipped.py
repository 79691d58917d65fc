"""The shipped digit model reads what it must, MNIST's digits and others."""

from __future__ import annotations

import pytest

from benchmarks.drawn_digits.evaluation import evaluate, shipped
from nn import Model, loads, run


@pytest.fixture(scope="module")
def model() -> Model:
    return loads(shipped().read_bytes())


def test_mnist(model: Model) -> None:
    assert run.test(model)["test_accuracy"] >= 0.995


def test_digits_that_are_not_mnists(model: Model) -> None:
    """Drawn with a mouse, photographed, scanned, printed, off-centre: 350 pictures, none of them ever trained on."""
    found = evaluate(model)
    assert sum(right for right, _ in found.values()) / sum(n for _, n in found.values()) >= 0.98
    assert min(right / n for right, n in found.values()) >= 0.94
