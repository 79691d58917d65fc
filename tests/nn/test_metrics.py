from __future__ import annotations

import numpy as np
import pytest

from nn import losses, metrics
from nn.losses import LOSSES
from nn.spec import LossName
from tests.nn.support import DTYPES, logits_and_targets, training


def test_accuracy_of_classes_is_the_share_of_largest_logits() -> None:
    logits = np.array([[0.1, 0.9, 0.0], [3, 2, 1], [-3, -2, -1], [0, 0, 5]])
    assert metrics.accuracy(logits, np.array([1, 0, 0, 2])) == 0.75


def test_accuracy_of_one_logit_splits_at_zero() -> None:
    assert metrics.accuracy(np.array([[-1.0], [0.0], [0.1], [5.0]]), np.array([0, 0, 1, 0])) == 0.75


def test_root_mean_squared_error() -> None:
    assert metrics.root_mean_squared_error(np.array([[1.0], [5.0]]), np.array([[1.0], [1.0]])) == np.sqrt(8)


def test_r_squared_is_one_for_the_targets_and_zero_for_their_mean() -> None:
    targets = np.array([[1.0, 10.0], [2.0, 20.0], [6.0, 30.0]])
    mean = np.broadcast_to(targets.mean(axis=0), targets.shape)
    assert metrics.r_squared(targets, targets) == 1
    assert metrics.r_squared(mean, targets) == pytest.approx(0)
    assert metrics.r_squared(2 * mean - targets, targets) == pytest.approx(-3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_targets_have_no_r_squared(dtype: str) -> None:
    targets = np.full((1000, 1), 0.1, dtype)  # whose mean, summed up in this dtype, is not quite 0.1
    assert metrics.r_squared(targets + 1, targets) is None
    assert "r2" not in metrics.evaluate(losses.build(training()), targets + 1, targets)


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_brings_its_metrics(name: LossName, rng: np.random.Generator) -> None:
    found = metrics.evaluate(losses.build(training(loss=name)), *logits_and_targets(name, 20, rng))
    expected = {"loss", "rmse", "r2"} if "regression" in LOSSES[name].tasks else {"loss", "accuracy"}
    assert set(found) == expected
    assert all(type(value) is float for value in found.values())


def test_the_loss_is_that_of_the_training_and_accuracy_knows_nothing_of_it(rng: np.random.Generator) -> None:
    logits, targets = logits_and_targets("cross_entropy", 20, rng)
    spec = training(loss="cross_entropy", label_smoothing=0.5, class_weights=(1, 2, 3))
    found = metrics.evaluate(losses.build(spec), logits, targets)
    assert found["loss"] == losses.build(spec).value(logits, targets)
    assert found["accuracy"] == metrics.accuracy(logits, targets)
