from __future__ import annotations

import math
import tracemalloc
from collections.abc import Callable, Iterable
from typing import get_args

import numpy as np
import pytest

from nn import optimizers
from nn.activations import Array
from nn.optimizers import OPTIMIZERS, State, clip_norm
from nn.spec import AdamSpec, AdamWSpec, DTypeName, OptimizerSpec, RMSPropSpec, SGDSpec

each_dtype = pytest.mark.parametrize("dtype", get_args(DTypeName))

# Every optimizer with and without decay, no number at its default.
SPECS: dict[str, OptimizerSpec] = {
    "sgd": SGDSpec(),
    "sgd, L2": SGDSpec(weight_decay=0.1),
    "momentum": SGDSpec(momentum=0.8),
    "momentum, L2": SGDSpec(momentum=0.8, weight_decay=0.1),
    "nesterov": SGDSpec(momentum=0.8, nesterov=True),
    "nesterov, L2": SGDSpec(momentum=0.8, nesterov=True, weight_decay=0.1),
    "rmsprop": RMSPropSpec(rho=0.95, epsilon=1e-6),
    "rmsprop, L2": RMSPropSpec(rho=0.95, epsilon=1e-6, weight_decay=0.1),
    "adam": AdamSpec(beta1=0.8, beta2=0.99, epsilon=1e-6),
    "adam, L2": AdamSpec(beta1=0.8, beta2=0.99, epsilon=1e-6, weight_decay=0.1),
    "adamw, no decay": AdamWSpec(beta1=0.8, beta2=0.99, epsilon=1e-6, weight_decay=0),
    "adamw": AdamWSpec(beta1=0.8, beta2=0.99, epsilon=1e-6, weight_decay=0.1),
}
each_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
DECAYING = {name: spec for name, spec in SPECS.items() if spec.weight_decay}
each_decaying_spec = pytest.mark.parametrize("spec", DECAYING.values(), ids=DECAYING)

# Each optimizer at the rate 0.1 on the gradients 1, then 0.5, from the parameter 1, by hand.
TWO_STEPS: dict[str, tuple[OptimizerSpec, list[float]]] = {
    "sgd": (SGDSpec(), [1 - 0.1, 1 - 0.1 - 0.05]),
    # g = 1 + 0.5 · 1, then 0.5 + 0.5 · 0.85 = 0.925
    "sgd, L2": (SGDSpec(weight_decay=0.5), [0.85, 0.85 - 0.0925]),
    # v = 1, then 0.5 · 1 + 0.5 = 1
    "momentum": (SGDSpec(momentum=0.5), [0.9, 0.8]),
    # g as without momentum; v = 1.5, then 0.5 · 1.5 + 0.925 = 1.675
    "momentum, L2": (SGDSpec(momentum=0.5, weight_decay=0.5), [0.85, 0.85 - 0.1675]),
    # g + 0.5 v = 1.5, then 0.5 + 0.5 · 1 = 1
    "nesterov": (SGDSpec(momentum=0.5, nesterov=True), [0.85, 0.75]),
    # v = 0.25, then 0.75 · 0.25 + 0.25 · 0.25 = 0.25: both times the divisor is 0.5 + 0.5
    "rmsprop": (RMSPropSpec(rho=0.75, epsilon=0.5), [0.9, 0.85]),
    # m = 0.5 and v = 0.25, corrected 1 and 1; then m = 0.25 + 0.25 and v = 0.1875 + 0.0625, corrected 2/3 and 4/7
    "adam": (
        AdamSpec(beta1=0.5, beta2=0.75, epsilon=0.5),
        [1 - 0.1 / 1.5, 1 - 0.1 / 1.5 - 0.1 * (2 / 3) / (math.sqrt(4 / 7) + 0.5)],
    ),
    # The same steps; before each, 0.1 · 0.5 of the weight goes.
    "adamw": (
        AdamWSpec(beta1=0.5, beta2=0.75, epsilon=0.5, weight_decay=0.5),
        [0.95 - 0.1 / 1.5, (0.95 - 0.1 / 1.5) * 0.95 - 0.1 * (2 / 3) / (math.sqrt(4 / 7) + 0.5)],
    ),
}

# With the rate at which each gets there in 3000 steps, on every bowl.
CONVERGING: dict[str, tuple[OptimizerSpec, float]] = {
    "sgd": (SGDSpec(), 0.01),
    "momentum": (SGDSpec(momentum=0.9), 0.002),
    "nesterov": (SGDSpec(momentum=0.9, nesterov=True), 0.002),
    "rmsprop": (RMSPropSpec(), 0.01),
    "adam": (AdamSpec(), 0.05),
    "adamw": (AdamWSpec(weight_decay=0), 0.05),
}


def quadratic(x: Array) -> Array:
    """The gradient of a bowl around (1, 1) that is a hundred times as steep along one axis."""
    return np.array([100, 1], x.dtype) * (x - 1)


def rosenbrock(x: Array) -> Array:
    """The gradient of `(1 - x₀)² + 10 (x₁ - x₀²)²`: a bent valley with its lowest point at (1, 1)."""
    across = x[1] - x[0] ** 2
    return np.array([-2 * (1 - x[0]) - 40 * x[0] * across, 20 * across], x.dtype)


def reference(
    spec: OptimizerSpec, parameters: Array, gradients: Iterable[Array], rates: Iterable[float], n_weights: int
) -> Array:
    """The papers' formulas one after another, in float64, with a new array for each result."""
    p = parameters.astype(np.float64)
    decay = np.where(np.arange(len(p)) < n_weights, spec.weight_decay, 0.0)
    m, v = np.zeros(len(p)), np.zeros(len(p))
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        g = g.astype(np.float64) + (0 if isinstance(spec, AdamWSpec) else decay * p)
        match spec:
            case SGDSpec():
                m = spec.momentum * m + g
                p = p - rate * (g + spec.momentum * m if spec.nesterov else m)
            case RMSPropSpec():
                v = spec.rho * v + (1 - spec.rho) * g**2
                p = p - rate * g / (np.sqrt(v) + spec.epsilon)
            case AdamSpec() | AdamWSpec():
                if isinstance(spec, AdamWSpec):
                    p = p - rate * decay * p
                m = spec.beta1 * m + (1 - spec.beta1) * g
                v = spec.beta2 * v + (1 - spec.beta2) * g**2
                m_hat, v_hat = m / (1 - spec.beta1**t), v / (1 - spec.beta2**t)
                p = p - rate * m_hat / (np.sqrt(v_hat) + spec.epsilon)
    return p


def gradients_of_every_size(n_steps: int, n_parameters: int, rng: np.random.Generator, dtype: str) -> list[Array]:
    scale = 10 ** rng.uniform(-5, 2, n_parameters)
    return [(rng.standard_normal(n_parameters) * scale).astype(dtype) for _ in range(n_steps)]


def run(
    spec: OptimizerSpec,
    parameters: Array,
    gradients: Iterable[Array],
    *,
    n_weights: int,
    state: State | None = None,
    rate: float = 0.01,
) -> State:
    """Steps of a new optimizer, in place. The gradients are kept."""
    optimizer = optimizers.build(spec, n_weights)
    state = optimizer.init(parameters) if state is None else state
    for values in gradients:
        optimizer.update(parameters, values.copy(), state, rate)
    return state


def test_every_spec_has_its_optimizer() -> None:
    assert set(OPTIMIZERS) == set(get_args(OptimizerSpec)) == {type(spec) for spec in SPECS.values()}


@pytest.mark.parametrize(("spec", "expected"), TWO_STEPS.values(), ids=TWO_STEPS)
@each_dtype
def test_two_steps_by_hand(spec: OptimizerSpec, expected: list[float], dtype: str) -> None:
    optimizer = optimizers.build(spec, n_weights=1)
    parameters = np.ones(1, dtype)
    state = optimizer.init(parameters)
    for gradient, after in zip((1, 0.5), expected, strict=True):
        optimizer.update(parameters, np.full(1, gradient, dtype), state, 0.1)
        assert parameters[0] == pytest.approx(after, rel=1e-6)


@each_spec
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 1e-5)])
def test_agrees_with_the_formulas_of_the_papers(
    spec: OptimizerSpec, dtype: str, tolerance: float, rng: np.random.Generator
) -> None:
    n_parameters, n_weights = 200, 150
    parameters = rng.standard_normal(n_parameters).astype(dtype)
    gradients = gradients_of_every_size(60, n_parameters, rng, dtype)
    rates = [0.01 * (1 + math.cos(step)) for step in range(60)]
    expected = reference(spec, parameters, gradients, rates, n_weights)
    optimizer = optimizers.build(spec, n_weights)
    state = optimizer.init(parameters)
    for values, rate in zip(gradients, rates, strict=True):
        optimizer.update(parameters, values.copy(), state, rate)
    np.testing.assert_allclose(parameters, expected, rtol=tolerance, atol=tolerance * 10)


@pytest.mark.parametrize("gradient", [quadratic, rosenbrock])
@pytest.mark.parametrize(("spec", "rate"), CONVERGING.values(), ids=CONVERGING)
@each_dtype
def test_converges(spec: OptimizerSpec, rate: float, gradient: Callable[[Array], Array], dtype: str) -> None:
    optimizer = optimizers.build(spec, n_weights=2)
    parameters = np.array([-1, 1.5], dtype)
    state = optimizer.init(parameters)
    for step in range(3000):
        # Steps that are divided by the gradients' size do not shrink by themselves.
        optimizer.update(parameters, gradient(parameters), state, rate * (1 - step / 3000))
    np.testing.assert_allclose(parameters, 1, atol=0.01)


@each_spec
@each_dtype
def test_keeps_the_dtype(spec: OptimizerSpec, dtype: str, rng: np.random.Generator) -> None:
    parameters = np.ones(5, dtype)
    state = run(spec, parameters, gradients_of_every_size(3, 5, rng, dtype), n_weights=3)
    assert parameters.dtype == dtype
    assert {values.dtype for values in state.values() if values.ndim} <= {np.dtype(dtype)}


@each_spec
def test_the_state_is_arrays_and_all_that_a_run_needs_to_go_on(spec: OptimizerSpec, rng: np.random.Generator) -> None:
    """Copied and taken up by another optimizer, the steps are those of an undisturbed run, bit for bit."""
    gradients = gradients_of_every_size(10, 50, rng, "float32")
    undisturbed = rng.standard_normal(50).astype("float32")
    resumed = undisturbed.copy()
    run(spec, undisturbed, gradients, n_weights=40)
    state = run(spec, resumed, gradients[:4], n_weights=40)
    assert all(type(values) is np.ndarray and values.shape in {(50,), ()} for values in state.values())
    run(spec, resumed, gradients[4:], n_weights=40, state={name: values.copy() for name, values in state.items()})
    np.testing.assert_array_equal(resumed, undisturbed)


def test_plain_descent_keeps_nothing() -> None:
    assert optimizers.build(SGDSpec(), n_weights=3).init(np.ones(3)) == {}


@each_spec
@pytest.mark.parametrize("n_weights", [0, 63, 64, 65, 300])
def test_blocks_give_the_bits_of_the_whole(
    spec: OptimizerSpec, n_weights: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = gradients_of_every_size(3, 300, rng, "float32")
    whole = rng.standard_normal(300).astype("float32")
    in_blocks = whole.copy()
    state = run(spec, whole, gradients, n_weights=n_weights)
    monkeypatch.setattr(optimizers, "BLOCK", 64)
    state_in_blocks = run(spec, in_blocks, gradients, n_weights=n_weights)
    np.testing.assert_array_equal(in_blocks, whole)
    for name, values in state.items():
        np.testing.assert_array_equal(state_in_blocks[name], values)


@each_spec
def test_a_long_vector_takes_the_steps_of_its_parts(spec: OptimizerSpec, rng: np.random.Generator) -> None:
    n_parameters = 2 * optimizers.BLOCK + 10
    (gradients,) = gradients_of_every_size(1, n_parameters, rng, "float32")
    parameters = rng.standard_normal(n_parameters).astype("float32")
    parts = [(parameters[part].copy(), gradients[part]) for part in (slice(100_000), slice(100_000, None))]
    run(spec, parameters, [gradients], n_weights=n_parameters)
    for values, gradients_of_part in parts:
        run(spec, values, [gradients_of_part], n_weights=n_parameters)
    np.testing.assert_array_equal(parameters, np.concatenate([values for values, _ in parts]))


@each_spec
def test_a_step_allocates_no_working_space(spec: OptimizerSpec) -> None:
    """But a block's, once."""
    parameters = np.ones(100_000)
    gradients = np.ones_like(parameters)
    optimizer = optimizers.build(spec, n_weights=90_000)
    state = optimizer.init(parameters)
    optimizer.update(parameters, gradients, state, 0.01)
    tracemalloc.start()
    try:
        optimizer.update(parameters, gradients, state, 0.01)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < parameters.nbytes / 100


@each_spec
def test_runs_of_two_dtypes_one_after_another_share_nothing(spec: OptimizerSpec, rng: np.random.Generator) -> None:
    (gradients,) = gradients_of_every_size(1, 50, rng, "float32")
    first, second = np.ones(50, np.float32), np.ones(50, np.float32)
    run(spec, first, [gradients], n_weights=40)
    optimizer = optimizers.build(spec, n_weights=40)
    double = np.ones(60)
    optimizer.update(double, double.copy(), optimizer.init(double), 0.01)
    optimizer.update(second, gradients.copy(), optimizer.init(second), 0.01)
    np.testing.assert_array_equal(second, first)


@each_decaying_spec
def test_decay_is_for_the_weights_alone(spec: OptimizerSpec, rng: np.random.Generator) -> None:
    gradients = gradients_of_every_size(5, 50, rng, "float64")
    before = rng.uniform(1, 2, 50)
    decayed, other, all_decayed = before.copy(), before.copy(), before.copy()
    run(spec, decayed, gradients, n_weights=30)
    run(spec, other, gradients, n_weights=0)
    run(spec, all_decayed, gradients, n_weights=50)
    np.testing.assert_array_equal(decayed[30:], other[30:])
    np.testing.assert_array_equal(decayed[:30], all_decayed[:30])
    assert (decayed[:30] < other[:30]).all()


@each_decaying_spec
def test_decay_goes_on_where_there_is_no_gradient(spec: OptimizerSpec) -> None:
    parameters = np.array([2.0, -2.0, 2.0, -2.0])
    run(spec, parameters, [np.zeros(4)] * 20, n_weights=2)
    assert (np.abs(parameters[:2]) < 2).all()
    np.testing.assert_array_equal(parameters[2:], [2, -2])


def test_adamw_takes_a_share_of_each_weight_and_adam_the_same_of_all() -> None:
    """Adam divides the penalty by its own size, and large weights decay no faster than small ones."""
    share, alike = np.array([1.0, 10.0, 100.0]), np.array([1.0, 10.0, 100.0])
    run(AdamWSpec(weight_decay=0.5), share, [np.zeros(3)], n_weights=3, rate=0.01)
    run(AdamSpec(weight_decay=0.5), alike, [np.zeros(3)], n_weights=3, rate=0.01)
    np.testing.assert_allclose(share, [0.995, 9.95, 99.5], rtol=1e-12)
    np.testing.assert_allclose(alike, [0.99, 9.99, 99.99], rtol=1e-6)


@each_spec
def test_the_rate_is_the_one_given_to_the_update(spec: OptimizerSpec) -> None:
    parameters = np.array([1.0, 2.0])
    run(spec, parameters, [np.zeros(2), np.ones(2), np.ones(2)], n_weights=2, rate=0)
    np.testing.assert_array_equal(parameters, [1, 2])


@pytest.mark.parametrize("spec", [RMSPropSpec(epsilon=1e-50), AdamSpec(epsilon=1e-50), AdamWSpec(epsilon=1e-50)])
def test_an_epsilon_below_float32_divides_nothing_by_zero(spec: OptimizerSpec) -> None:
    parameters = np.ones(2, np.float32)
    run(spec, parameters, [np.array([0, 1], np.float32)], n_weights=0)
    assert parameters[0] == 1
    assert np.isfinite(parameters[1])


@each_spec
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_shows(spec: OptimizerSpec, value: float) -> None:
    parameters = np.ones(2, np.float32)
    with np.errstate(invalid="ignore"):
        run(spec, parameters, [np.array([value, 1], np.float32)], n_weights=2)
    assert not np.isfinite(parameters[0])
    assert np.isfinite(parameters[1])


@each_dtype
def test_clip_norm_scales_what_is_longer_than_its_limit(dtype: str) -> None:
    gradients = np.array([3, -4], dtype)
    assert clip_norm(gradients, 10) == 5
    np.testing.assert_array_equal(gradients, [3, -4])
    assert clip_norm(gradients, 1) == 5
    np.testing.assert_allclose(gradients, [0.6, -0.8], rtol=1e-6)
    assert gradients.dtype == dtype


def test_clip_norm_is_of_the_whole_vector(rng: np.random.Generator) -> None:
    gradients = rng.standard_normal(2 * optimizers.BLOCK + 10).astype("float32")
    expected = float(np.linalg.norm(gradients.astype(np.float64)))
    assert clip_norm(gradients, 1) == pytest.approx(expected, rel=1e-6)
    assert np.linalg.norm(gradients.astype(np.float64)) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("n_parameters", [0, 3])
@each_dtype
def test_clip_norm_of_nothing_is_nothing(n_parameters: int, dtype: str) -> None:
    gradients = np.zeros(n_parameters, dtype)
    assert clip_norm(gradients, 1) == 0
    assert not gradients.any()


@pytest.mark.parametrize(
    ("dtype", "size"), [("float32", 1e25), ("float32", 1e-30), ("float64", 1e200), ("float64", 1e-200)]
)
def test_clip_norm_of_gradients_whose_squares_are_out_of_range(dtype: str, size: float) -> None:
    gradients = np.array([3 * size, 0, -4 * size], dtype)
    assert clip_norm(gradients, 10 * size) == pytest.approx(5 * size)
    np.testing.assert_allclose(gradients, [3 * size, 0, -4 * size], rtol=1e-6)
    assert clip_norm(gradients, size) == pytest.approx(5 * size)
    np.testing.assert_allclose(gradients, [0.6 * size, 0, -0.8 * size], rtol=1e-6)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@each_dtype
def test_clip_norm_leaves_what_is_not_finite(value: float, dtype: str) -> None:
    gradients = np.array([1, value, -5], dtype)
    assert not math.isfinite(clip_norm(gradients, 1))
    np.testing.assert_array_equal(gradients, np.array([1, value, -5], dtype))
