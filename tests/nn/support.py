"""What several test modules share: networks in shorthand, samples, targets that fit a loss, central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from nn import NetworkSpec, Samples, TrainingSpec
from nn.activations import Array
from nn.features import NumberFeatures
from nn.losses import LOSSES, Targets
from nn.network import Network
from nn.spec import (
    ActivationName,
    ActivationSpec,
    DenseSpec,
    DTypeName,
    InitializerName,
    LayerSpec,
    LossName,
    SGDSpec,
)

DTYPES: tuple[DTypeName, ...] = get_args(DTypeName)


def layers(*shorthand: int | str, initializer: InitializerName = "he") -> tuple[LayerSpec, ...]:
    """`layers(8, "relu", 1)`: a number is a dense layer of so many units, a word an activation."""
    return tuple(
        DenseSpec(units=item, initializer=initializer)
        if isinstance(item, int)
        else ActivationSpec(type=cast("ActivationName", item))
        for item in shorthand
    )


def network(
    n_inputs: int,
    *shorthand: int | str,
    loss: LossName = "mean_squared_error",
    dtype: DTypeName = "float64",
    seed: int = 0,
) -> Network:
    spec = NetworkSpec(layers=layers(*shorthand), dtype=dtype)
    return Network(spec, (n_inputs,), LOSSES[loss].output, np.random.default_rng(seed))


def samples(inputs: NDArray[Any], targets: Targets) -> Samples:
    """All rows of `inputs`, `(n_samples, n_inputs)`, taken as they are."""
    return Samples(inputs, targets, np.arange(len(inputs)), NumberFeatures(n_inputs=inputs.shape[1]))


def training(learning_rate: float = 0.1, *, loss: LossName = "mean_squared_error", **fields: Any) -> TrainingSpec:
    return TrainingSpec(loss=loss, optimizer=SGDSpec(learning_rate=learning_rate), **fields)


def logits_and_targets(
    name: LossName, n_samples: int, rng: np.random.Generator, n_outputs: int = 3
) -> tuple[Array, Targets]:
    """Random logits, float64, and targets that fit the loss."""
    loss = LOSSES[name]
    logits = rng.standard_normal((n_samples, 1 if loss.one_output else n_outputs))
    if "regression" in loss.tasks:
        return logits, rng.standard_normal(logits.shape)
    return logits, rng.integers(0, 2 if loss.one_output else n_outputs, n_samples)


def central_differences(f: Callable[[], float], x: Array, step: float = 1e-6) -> Array:
    """`(f(x + step) - f(x - step)) / (2 step)` for each number of `x`, which `f` reads and which is put back."""
    slopes = np.empty_like(x)
    for index in np.ndindex(x.shape):
        value = x[index]
        x[index] = value + step
        above = f()
        x[index] = value - step
        below = f()
        x[index] = value
        slopes[index] = (above - below) / (2 * step)
    return slopes


def assert_gradient(found: Array, expected: Array) -> None:
    """Equal as far as central differences in float64 can tell."""
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)
