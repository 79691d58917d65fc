from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from nn import optimizers
from nn.activations import Array
from nn.spec import SGDSpec
from tests.nn.support import DTYPES

# Each optimizer with rate 0.1 on the gradients (1, then 2) from the parameter 1, by hand.
TWO_STEPS = {
    "plain": (SGDSpec(learning_rate=0.1), [1 - 0.1, 1 - 0.1 - 0.2]),
    # v = 1, then 0.5 · 1 + 2 = 2.5
    "momentum": (SGDSpec(learning_rate=0.1, momentum=0.5), [1 - 0.1, 1 - 0.1 - 0.25]),
    # g + 0.5 v = 1.5, then 2 + 0.5 · 2.5 = 3.25
    "nesterov": (SGDSpec(learning_rate=0.1, momentum=0.5, nesterov=True), [1 - 0.15, 1 - 0.15 - 0.325]),
}
CONVERGING = {
    "plain": SGDSpec(learning_rate=0.02),
    "momentum": SGDSpec(learning_rate=0.01, momentum=0.9),
    "nesterov": SGDSpec(learning_rate=0.01, momentum=0.9, nesterov=True),
}
MINIMUM = np.array([1.0, -2.0])


def valley(x: Array) -> Array:
    """The gradient of a quadratic fifty times as steep along one axis."""
    return np.array([50.0, 1.0], x.dtype) * (x - MINIMUM.astype(x.dtype))


def quartic(x: Array) -> Array:
    """The gradient of a bowl that is flatter at its bottom: `d²/2 + d⁴/4` by each axis."""
    away = x - MINIMUM.astype(x.dtype)
    return away + away**3


@pytest.mark.parametrize(("spec", "expected"), TWO_STEPS.values(), ids=TWO_STEPS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_two_steps_by_hand(spec: SGDSpec, expected: list[float], dtype: str) -> None:
    optimizer = optimizers.build(spec)
    parameters = np.ones(1, dtype)
    state = optimizer.init(parameters)
    for gradient, after in zip((1, 2), expected, strict=True):
        optimizer.update(parameters, np.full(1, gradient, dtype), state)
        assert parameters[0] == pytest.approx(after, rel=1e-6)
    assert parameters.dtype == dtype


@pytest.mark.parametrize("gradient", [valley, quartic])
@pytest.mark.parametrize("spec", CONVERGING.values(), ids=CONVERGING)
@pytest.mark.parametrize("dtype", DTYPES)
def test_converges(spec: SGDSpec, gradient: Callable[[Array], Array], dtype: str) -> None:
    optimizer = optimizers.build(spec)
    parameters = np.array([-1.0, 1.0], dtype)
    state = optimizer.init(parameters)
    for _ in range(800):
        optimizer.update(parameters, gradient(parameters), state)
    np.testing.assert_allclose(parameters, MINIMUM, rtol=1e-4)


@pytest.mark.parametrize("spec", CONVERGING.values(), ids=CONVERGING)
def test_the_state_is_all_that_a_run_needs_to_go_on(spec: SGDSpec) -> None:
    """Saved and taken up by another optimizer, the steps are those of an undisturbed run, bit for bit."""

    def steps(parameters: Array, state: dict[str, Array], n_steps: int) -> None:
        optimizer = optimizers.build(spec)
        for _ in range(n_steps):
            optimizer.update(parameters, valley(parameters), state)

    undisturbed = np.array([-1.0, 1.0])
    resumed = undisturbed.copy()
    steps(undisturbed, optimizers.build(spec).init(undisturbed), 10)
    state = optimizers.build(spec).init(resumed)
    steps(resumed, state, 4)
    assert all(isinstance(values, np.ndarray) and values.shape == resumed.shape for values in state.values())
    steps(resumed, {name: values.copy() for name, values in state.items()}, 6)
    np.testing.assert_array_equal(resumed, undisturbed)


@pytest.mark.parametrize("spec", CONVERGING.values(), ids=CONVERGING)
def test_a_step_allocates_no_working_space(spec: SGDSpec) -> None:
    optimizer = optimizers.build(spec)
    parameters = np.ones(100_000)
    gradients = np.ones_like(parameters)
    state = optimizer.init(parameters)
    tracemalloc.start()
    try:
        optimizer.update(parameters, gradients, state)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < parameters.nbytes / 10
