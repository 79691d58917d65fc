from __future__ import annotations

import math
import tracemalloc
from typing import Any, get_args

import numpy as np
import pytest

from nn import losses
from nn.activations import ACTIVATIONS, Array
from nn.losses import LOSSES, Objective, Targets
from nn.spec import LossName, TaskName, TrainingSpec
from tests.nn.support import DTYPES, assert_gradient, central_differences, logits_and_targets, training


def built(name: LossName, **fields: Any) -> Objective:
    return losses.build(training(loss=name, **fields))


def slope(loss: Objective, logits: Array, targets: Targets) -> Array:
    out = np.full_like(logits, np.nan)
    loss.gradient(logits, targets, out)
    return out


SMOOTHED: dict[str, Any] = {"label_smoothing": 0.1}
WEIGHTED: dict[str, Any] = {"class_weights": (0.5, 3.0)}
WEIGHTED_3: dict[str, Any] = {"class_weights": (0.5, 3.0, 0.0)}
TRAININGS = {
    "mean_squared_error": training(loss="mean_squared_error"),
    "mean_absolute_error": training(loss="mean_absolute_error"),
    "huber": training(loss="huber"),
    "cross_entropy": training(loss="cross_entropy"),
    "cross_entropy, smoothed": training(loss="cross_entropy", **SMOOTHED),
    "cross_entropy, weighted": training(loss="cross_entropy", **WEIGHTED_3),
    "cross_entropy, both": training(loss="cross_entropy", **SMOOTHED, **WEIGHTED_3),
    "binary_cross_entropy": training(loss="binary_cross_entropy"),
    "binary_cross_entropy, smoothed": training(loss="binary_cross_entropy", **SMOOTHED),
    "binary_cross_entropy, weighted": training(loss="binary_cross_entropy", **WEIGHTED),
    "binary_cross_entropy, both": training(loss="binary_cross_entropy", **SMOOTHED, **WEIGHTED),
}
each_training = pytest.mark.parametrize("spec", TRAININGS.values(), ids=TRAININGS)
CROSS_ENTROPIES: tuple[LossName, ...] = ("cross_entropy", "binary_cross_entropy")


def test_every_name_has_its_loss_and_every_task_a_loss() -> None:
    assert set(LOSSES) == set(get_args(LossName)) == {spec.loss for spec in TRAININGS.values()}
    assert set().union(*(loss.tasks for loss in LOSSES.values())) == set(get_args(TaskName))
    assert all(loss.output in ACTIVATIONS for loss in LOSSES.values())
    assert all(built(name).name == name for name in LOSSES)


@each_training
@pytest.mark.parametrize("n_samples", [1, 6])
def test_gradient_agrees_with_central_differences(spec: TrainingSpec, n_samples: int, rng: np.random.Generator) -> None:
    loss = losses.build(spec)
    logits, targets = logits_and_targets(spec.loss, n_samples, rng)
    logits *= 2
    assert_gradient(slope(loss, logits, targets), central_differences(lambda: loss.value(logits, targets), logits))


@each_training
def test_is_a_mean_over_the_samples(spec: TrainingSpec, rng: np.random.Generator) -> None:
    loss = losses.build(spec)
    logits, targets = logits_and_targets(spec.loss, 5, rng)
    twice = np.concatenate([logits, logits]), np.concatenate([targets, targets])
    assert loss.value(*twice) == pytest.approx(loss.value(logits, targets))
    half = slope(loss, *twice)
    np.testing.assert_allclose(
        np.concatenate([half[:5] * 2, half[5:] * 2]), np.tile(slope(loss, logits, targets), (2, 1))
    )


@each_training
def test_reads_its_logits_only(spec: TrainingSpec, rng: np.random.Generator) -> None:
    loss = losses.build(spec)
    logits, targets = logits_and_targets(spec.loss, 5, rng)
    before, before_targets = logits.copy(), targets.copy()
    loss.value(logits, targets)
    slope(loss, logits, targets)
    np.testing.assert_array_equal(logits, before)
    np.testing.assert_array_equal(targets, before_targets)


@each_training
def test_float32_gives_what_float64_gives_but_for_rounding(spec: TrainingSpec, rng: np.random.Generator) -> None:
    loss = losses.build(spec)
    logits, targets = logits_and_targets(spec.loss, 50, rng)
    logits32 = logits.astype("float32")
    targets32 = targets.astype("float32") if targets.dtype.kind == "f" else targets
    value = loss.value(logits32, targets32)
    assert isinstance(value, float)
    assert value == pytest.approx(loss.value(logits, targets), rel=1e-5)
    np.testing.assert_allclose(slope(loss, logits32, targets32), slope(loss, logits, targets), atol=1e-6)


@each_training
def test_gradients_of_other_shapes_and_dtypes_in_between_change_nothing(
    spec: TrainingSpec, rng: np.random.Generator
) -> None:
    loss = losses.build(spec)
    given = [logits_and_targets(spec.loss, n_samples, rng) for n_samples in (7, 2, 7)]
    expected = [slope(losses.build(spec), *one) for one in given]
    for _ in range(2):
        for (logits, targets), gradient in zip(given, expected, strict=True):
            slope(loss, logits.astype("float32"), targets)
            np.testing.assert_array_equal(slope(loss, logits, targets), gradient)


@each_training
def test_a_number_that_is_none_is_not_hidden(spec: TrainingSpec, rng: np.random.Generator) -> None:
    loss = losses.build(spec)
    logits, targets = logits_and_targets(spec.loss, 3, rng)
    logits[1, 0], targets[1] = np.nan, 0
    with np.errstate(invalid="ignore"):
        assert math.isnan(loss.value(logits, targets))
    assert np.isnan(slope(loss, logits, targets)[1, 0])


def test_mean_squared_error_by_hand() -> None:
    loss, logits, targets = built("mean_squared_error"), np.array([[1.0, 2.0]]), np.array([[0.0, 4.0]])
    assert loss.value(logits, targets) == 2.5
    assert slope(loss, logits, targets).tolist() == [[1, -2]]


def test_mean_absolute_error_by_hand() -> None:
    loss, logits, targets = built("mean_absolute_error"), np.array([[1.0, 2.0], [5.0, 5.0]]), np.array([[0, 4], [5, 4]])
    assert loss.value(logits, targets) == 1
    assert slope(loss, logits, targets).tolist() == [[0.25, -0.25], [0, 0.25]]


def test_huber_by_hand() -> None:
    loss, logits, targets = built("huber"), np.array([[0.5, -4.0, 1.0, 0.0]]), np.zeros((1, 4))
    assert loss.value(logits, targets) == (0.125 + 3.5 + 0.5 + 0) / 4
    assert slope(loss, logits, targets).tolist() == [[0.125, -0.25, 0.25, 0]]


def test_cross_entropy_by_hand() -> None:
    probabilities, targets = np.array([[0.2, 0.3, 0.5], [0.1, 0.8, 0.1]]), np.array([2, 0])
    logits = np.log(probabilities)
    logits += np.array([[5], [-7]])  # a constant in a row changes nothing
    loss = built("cross_entropy")
    assert loss.value(logits, targets) == pytest.approx(-(math.log(0.5) + math.log(0.1)) / 2)
    np.testing.assert_allclose(slope(loss, logits, targets), (probabilities - [[0, 0, 1], [1, 0, 0]]) / 2)


def test_smoothed_cross_entropy_by_hand() -> None:
    probabilities, targets = np.array([[0.2, 0.3, 0.5], [0.1, 0.8, 0.1]]), np.array([2, 0])
    loss = built("cross_entropy", label_smoothing=0.3)
    smoothed = np.array([[0.1, 0.1, 0.8], [0.8, 0.1, 0.1]])
    expected = -float(np.sum(smoothed * np.log(probabilities))) / 2
    assert loss.value(np.log(probabilities), targets) == pytest.approx(expected)
    np.testing.assert_allclose(slope(loss, np.log(probabilities), targets), (probabilities - smoothed) / 2, atol=1e-15)


def test_binary_cross_entropy_by_hand() -> None:
    logits, targets = np.log([[0.8 / 0.2], [0.3 / 0.7]]), np.array([1, 0])
    loss = built("binary_cross_entropy")
    assert loss.value(logits, targets) == pytest.approx(-(math.log(0.8) + math.log(0.7)) / 2)
    np.testing.assert_allclose(slope(loss, logits, targets), [[-0.1], [0.15]])


def test_smoothed_binary_cross_entropy_by_hand() -> None:
    logits, targets = np.log([[0.8 / 0.2], [0.3 / 0.7]]), np.array([1, 0])
    loss = built("binary_cross_entropy", label_smoothing=0.2)
    expected = 0.9 * math.log(0.8) + 0.1 * math.log(0.2) + 0.1 * math.log(0.3) + 0.9 * math.log(0.7)
    assert loss.value(logits, targets) == pytest.approx(-expected / 2)
    np.testing.assert_allclose(slope(loss, logits, targets), [[-0.05], [0.1]])


@pytest.mark.parametrize("name", CROSS_ENTROPIES)
@pytest.mark.parametrize("fields", [{}, SMOOTHED], ids=["plain", "smoothed"])
def test_each_sample_counts_by_the_weight_of_its_class(
    name: LossName, fields: dict[str, Any], rng: np.random.Generator
) -> None:
    plain, weighted = built(name, **fields), built(name, class_weights=(0.5, 3.0), **fields)
    logits, targets = logits_and_targets(name, 6, rng, n_outputs=2)
    weights = np.where(targets == 0, 0.5, 3.0)
    each = [plain.value(logits[row : row + 1], targets[row : row + 1]) for row in range(6)]
    # Divided by the number of samples, not by the sum of their weights.
    assert weighted.value(logits, targets) == pytest.approx(float(weights @ each) / 6)
    expected = slope(plain, logits, targets) * weights[:, np.newaxis]
    np.testing.assert_allclose(slope(weighted, logits, targets), expected)


@pytest.mark.parametrize("z", [-1000.0, -30.0, -1.0, 0.0, 2.5, 40.0, 1000.0])
@pytest.mark.parametrize("fields", [{}, SMOOTHED, WEIGHTED, SMOOTHED | WEIGHTED], ids=str)
def test_cross_entropy_of_two_classes_is_binary_cross_entropy(z: float, fields: dict[str, Any]) -> None:
    one, two = np.array([[z], [z]]), np.array([[0, z], [0, z]])
    targets = np.array([0, 1])
    binary, both = built("binary_cross_entropy", **fields), built("cross_entropy", **fields)
    assert binary.value(one, targets) == pytest.approx(both.value(two, targets))
    np.testing.assert_allclose(slope(binary, one, targets)[:, 0], slope(both, two, targets)[:, 1], atol=1e-15)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_samples", [1, 3, 16])
@pytest.mark.parametrize("name", CROSS_ENTROPIES)
def test_logits_of_10000_are_certain_and_finite(name: LossName, n_samples: int, dtype: str) -> None:
    """Probabilities of exactly 0 and 1: a log of them would be infinite."""
    targets = np.arange(n_samples) % 2
    sign = 2.0 * targets[:, np.newaxis] - 1
    logits = 1e4 * (sign if LOSSES[name].one_output else sign * [[-1, 1]]).astype(dtype)
    loss, margin = built(name), 1e4 if LOSSES[name].one_output else 2e4
    smoothed = built(name, label_smoothing=0.5)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert loss.value(logits, targets) == 0
        assert not slope(loss, logits, targets).any()
        assert loss.value(-logits, targets) == margin
        np.testing.assert_array_equal(np.abs(slope(loss, -logits, targets)), np.array(1 / n_samples, dtype))
        assert smoothed.value(logits, targets) == margin / 4
        np.testing.assert_allclose(np.abs(slope(smoothed, logits, targets)), 0.25 / n_samples, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["mean_squared_error", "mean_absolute_error", "huber"])
def test_differences_of_10000_are_exact(name: LossName, dtype: str) -> None:
    logits, targets = np.array([[1e4], [-1e4]], dtype), np.zeros((2, 1), dtype)
    values = {"mean_squared_error": 1e8, "mean_absolute_error": 1e4, "huber": 1e4 - 0.5}
    assert built(name).value(logits, targets) == values[name]
    steep = 1e4 if name == "mean_squared_error" else 0.5
    np.testing.assert_array_equal(slope(built(name), logits, targets), [[steep], [-steep]])


def test_many_classes_take_memory_by_their_number_and_not_its_square(rng: np.random.Generator) -> None:
    n_classes = 4_000
    logits, targets = rng.standard_normal((2, n_classes)), np.array([n_classes - 1, 0])
    loss = built("cross_entropy", label_smoothing=0.1)
    tracemalloc.start()
    found = slope(loss, logits, targets)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * logits.nbytes
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) - 0.1 / n_classes
    expected[[0, 1], targets] -= 0.9
    np.testing.assert_allclose(found, expected / 2, atol=1e-15)
