from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest

from nn.activations import ACTIVATIONS
from nn.losses import LOSSES, Loss
from nn.spec import LossName, TaskName
from tests.nn.support import DTYPES, assert_gradient, central_differences, logits_and_targets

each_loss = pytest.mark.parametrize("name", LOSSES)


def test_every_name_has_its_loss_and_every_task_a_loss() -> None:
    assert set(LOSSES) == set(get_args(LossName))
    assert set().union(*(loss.tasks for loss in LOSSES.values())) == set(get_args(TaskName))
    assert all(loss.output in ACTIVATIONS for loss in LOSSES.values())


@each_loss
@pytest.mark.parametrize("n_samples", [1, 6])
def test_gradient_agrees_with_central_differences(name: LossName, n_samples: int, rng: np.random.Generator) -> None:
    loss = LOSSES[name]
    logits, targets = logits_and_targets(name, n_samples, rng)
    out = np.empty_like(logits)
    loss.gradient(logits, targets, out)
    assert_gradient(out, central_differences(lambda: loss.value(logits, targets), logits))


@each_loss
def test_is_a_mean_over_the_samples(name: LossName, rng: np.random.Generator) -> None:
    logits, targets = logits_and_targets(name, 5, rng)
    twice = LOSSES[name].value(np.concatenate([logits, logits]), np.concatenate([targets, targets]))
    assert twice == pytest.approx(LOSSES[name].value(logits, targets))


@each_loss
def test_reads_its_logits_only(name: LossName, rng: np.random.Generator) -> None:
    logits, targets = logits_and_targets(name, 5, rng)
    before = logits.copy()
    LOSSES[name].value(logits, targets)
    LOSSES[name].gradient(logits, targets, np.empty_like(logits))
    np.testing.assert_array_equal(logits, before)


@each_loss
def test_float32_gives_what_float64_gives_but_for_rounding(name: LossName, rng: np.random.Generator) -> None:
    loss = LOSSES[name]
    logits, targets = logits_and_targets(name, 50, rng)
    value = loss.value(logits.astype("float32"), targets)
    out, out32 = np.empty_like(logits), np.empty(logits.shape, np.float32)
    loss.gradient(logits, targets, out)
    loss.gradient(logits.astype("float32"), targets.astype("float32") if targets.dtype.kind == "f" else targets, out32)
    assert isinstance(value, float)
    assert value == pytest.approx(loss.value(logits, targets), rel=1e-5)
    np.testing.assert_allclose(out32, out, atol=1e-6)


def test_mean_squared_error_by_hand() -> None:
    assert LOSSES["mean_squared_error"].value(np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]])) == 2.5


def test_cross_entropy_by_hand() -> None:
    logits = np.log([[0.2, 0.3, 0.5], [0.1, 0.8, 0.1]])
    logits += np.array([[5], [-7]])  # a constant in a row changes nothing
    value = LOSSES["cross_entropy"].value(logits, np.array([2, 0]))
    assert value == pytest.approx(-(math.log(0.5) + math.log(0.1)) / 2)


def test_binary_cross_entropy_by_hand() -> None:
    logits = np.log([[0.8 / 0.2], [0.3 / 0.7]])
    value = LOSSES["binary_cross_entropy"].value(logits, np.array([1, 0]))
    assert value == pytest.approx(-(math.log(0.8) + math.log(0.7)) / 2)


@pytest.mark.parametrize("z", [-1000.0, -30.0, -1.0, 0.0, 2.5, 40.0, 1000.0])
def test_cross_entropy_of_two_classes_is_binary_cross_entropy(z: float) -> None:
    one, two = np.array([[z], [z]]), np.array([[0, z], [0, z]])
    targets = np.array([0, 1])
    binary, both = LOSSES["binary_cross_entropy"], LOSSES["cross_entropy"]
    assert binary.value(one, targets) == pytest.approx(both.value(two, targets))
    out_one, out_two = np.empty_like(one), np.empty_like(two)
    binary.gradient(one, targets, out_one)
    both.gradient(two, targets, out_two)
    np.testing.assert_allclose(out_one[:, 0], out_two[:, 1], atol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("loss", "right"),
    [
        (LOSSES["cross_entropy"], [[-1000, 1000], [1000, -1000]]),
        (LOSSES["binary_cross_entropy"], [[1000], [-1000]]),
    ],
    ids=["cross_entropy", "binary_cross_entropy"],
)
def test_logits_of_1000_are_certain_and_finite(loss: Loss, right: list[list[float]], dtype: str) -> None:
    """Probabilities of exactly 0 and 1: a log of them would be infinite."""
    logits, targets = np.array(right, dtype), np.array([1, 0])
    out = np.empty_like(logits)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert loss.value(logits, targets) == 0
        loss.gradient(logits, targets, out)
        assert not out.any()
        margin = 1000 * (1 if loss.one_output else 2)
        assert loss.value(-logits, targets) == margin
        loss.gradient(-logits, targets, out)
    np.testing.assert_array_equal(np.abs(out), 0.5)
