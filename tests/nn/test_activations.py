from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from nn.activations import ACTIVATIONS, Activation, Array
from nn.spec import ActivationName
from tests.nn.support import DTYPES, assert_gradient, central_differences

each_activation = pytest.mark.parametrize("function", ACTIVATIONS.values(), ids=ACTIVATIONS)


def applied(function: Activation, x: Array) -> Array:
    y = np.empty_like(x)
    function.forward(x, y)
    return y


def derived(function: Activation, dy: Array, x: Array, out: Array | None = None) -> Array:
    """What `backward` writes; it is given `x` only where the function says that it needs it."""
    out = np.empty_like(x) if out is None else out
    function.backward(dy, x if function.needs_x else None, applied(function, x), out, np.full_like(x, np.nan))
    return out


def values(name: ActivationName, x: object) -> list[list[float]]:
    return applied(ACTIVATIONS[name], np.array(x, float)).tolist()  # type: ignore[no-any-return]


def slopes(name: ActivationName, x: object) -> list[list[float]]:
    given = np.array(x, float)
    return derived(ACTIVATIONS[name], np.ones_like(given), given).tolist()  # type: ignore[no-any-return]


def test_every_name_has_its_function() -> None:
    assert set(ACTIVATIONS) == set(get_args(ActivationName))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (name, shape)
        for name, function in ACTIVATIONS.items()
        for shape in [(1, 4), (5, 4), (3, 1), (6,), (3, 2, 4, 5)]
        if function.elementwise or len(shape) == 2
    ],
)
def test_derivative_agrees_with_central_differences(
    name: ActivationName, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    function = ACTIVATIONS[name]
    x, dy = 2 * rng.standard_normal((2, *shape))
    found = derived(function, dy, x)
    assert_gradient(found, central_differences(lambda: float(np.sum(applied(function, x) * dy)), x))


@each_activation
@pytest.mark.parametrize("dtype", DTYPES)
def test_may_write_over_what_it_reads(function: Activation, dtype: str, rng: np.random.Generator) -> None:
    x, dy = rng.standard_normal((2, 3, 4)).astype(dtype)
    over_dy = dy.copy()
    np.testing.assert_array_equal(derived(function, over_dy, x, out=over_dy), derived(function, dy, x))
    if not function.needs_x:
        over_x = x.copy()
        function.forward(over_x, over_x)
        np.testing.assert_array_equal(over_x, applied(function, x))


@each_activation
def test_reads_its_inputs_only(function: Activation, rng: np.random.Generator) -> None:
    x, dy = rng.standard_normal((2, 3, 4))
    y = applied(function, x)
    before = x.copy(), dy.copy(), y.copy()
    function.backward(dy, x, y, np.empty_like(x), np.empty_like(x))
    for array, kept in zip((x, dy, y), before, strict=True):
        np.testing.assert_array_equal(array, kept)


@each_activation
def test_float32_gives_what_float64_gives_but_for_rounding(function: Activation, rng: np.random.Generator) -> None:
    x, dy = 5 * rng.standard_normal((2, 50, 8)).astype("float32")
    exact, exact_slopes = applied(function, x.astype(float)), derived(function, dy.astype(float), x.astype(float))
    np.testing.assert_allclose(applied(function, x), exact, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(derived(function, dy, x), exact_slopes, rtol=1e-4, atol=1e-5)


@each_activation
@pytest.mark.parametrize("dtype", DTYPES)
def test_neither_direction_overflows_at_extreme_inputs(function: Activation, dtype: str) -> None:
    # gelu's cubes would, in float32, long before the others see anything of note.
    extremes = (1e4,) if function.needs_x else (1e4, 1e30)
    for large in extremes:
        x: Array = np.array([[large, -large, 0], [-large, -large, -large], [large, large, -1]], dtype)
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            y, dx = applied(function, x), derived(function, np.ones_like(x), x)
        assert np.isfinite(y).all()
        assert np.isfinite(dx).all()


@each_activation
def test_a_number_that_is_none_is_not_hidden(function: Activation) -> None:
    assert np.isnan(applied(function, np.array([[np.nan, np.nan]]))).all()


@each_activation
def test_monotone_is_said_of_what_is_elementwise_and_falls_nowhere(function: Activation) -> None:
    x = np.concatenate([[-1e4], np.linspace(-30, 30, 6001), [1e4]])[:, np.newaxis]
    if function.elementwise:
        assert function.monotone == bool((np.diff(applied(function, x), axis=0) >= 0).all())
    else:
        assert not function.monotone


def test_relu() -> None:
    assert values("relu", [[-2, 0, 3]]) == [[0, 0, 3]]
    assert slopes("relu", [[-2, 0, 3]]) == [[0, 0, 1]]


def test_relu_of_arrays_of_any_size_one_after_another() -> None:
    for n in (3, 500, 1, 70_000, 500):
        for dtype in DTYPES:
            x = np.linspace(-1, 1, n, dtype=dtype).reshape(1, n)
            np.testing.assert_array_equal(applied(ACTIVATIONS["relu"], x), np.where(x > 0, x, 0))


def test_leaky_relu() -> None:
    assert values("leaky_relu", [[-200, 0, 3]]) == [[-2, 0, 3]]
    assert slopes("leaky_relu", [[-200, 0, 3]]) == [[pytest.approx(0.01), pytest.approx(0.01), 1]]


def test_elu() -> None:
    assert values("elu", [[np.log(0.25), -1000, 0, 3]]) == [[-0.75, -1, 0, 3]]
    assert slopes("elu", [[np.log(0.25), -1000, 0, 3]]) == [[0.25, 0, 1, 1]]


def test_gelu() -> None:
    """Against `x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2` and its derivative, worked out to 30 digits."""
    known = {
        -3.0: (-0.0036373920817730188, -0.011584166630969726),
        -1.0: (-0.15880800939172330, -0.082964083845782554),
        -0.5: (-0.15428599017485608, 0.13263009646535769),
        0.0: (0.0, 0.5),
        0.5: (0.34571400982514392, 0.86736990353464231),
        1.0: (0.84119199060827670, 1.0829640838457826),
        3.0: (2.9963626079182270, 1.0115841666309697),
        1e4: (1e4, 1.0),
        -1e4: (0.0, 0.0),
    }
    assert values("gelu", [[*known]]) == [pytest.approx([value for value, _ in known.values()], rel=1e-12, abs=0)]
    assert slopes("gelu", [[*known]]) == [pytest.approx([slope for _, slope in known.values()], rel=1e-12, abs=0)]


def test_gelu_is_near_x_times_the_normal_distribution() -> None:
    assert values("gelu", [[-2, 0.25, 2]]) == [
        pytest.approx([-2 * 0.0227501319, 0.25 * 0.5987063257, 2 * 0.9772498681], abs=5e-4)
    ]


def test_softplus() -> None:
    assert values("softplus", [[0, 1000, -1000, np.log(3)]]) == [[np.log(2), 1000, 0, pytest.approx(np.log(4))]]
    assert slopes("softplus", [[0, 1000, -1000, np.log(3)]]) == [[0.5, 1, 0, pytest.approx(0.75)]]


def test_tanh() -> None:
    assert values("tanh", [[0, 1000, -1000]]) == [[0, 1, -1]]
    assert slopes("tanh", [[0, 1000, -1000]]) == [[1, 0, 0]]


def test_sigmoid() -> None:
    assert values("sigmoid", [[0, 1000, -1000]]) == [[0.5, 1, 0]]
    assert values("sigmoid", [[np.log(3)]]) == [[pytest.approx(0.75)]]
    assert slopes("sigmoid", [[0, 1000, -1000]]) == [[0.25, 0, 0]]


def test_softmax_of_each_row_adds_up_to_one() -> None:
    assert values("softmax", [[0, np.log(3)], [1000, 1000], [-1000, 1000]]) == [
        pytest.approx([0.25, 0.75]),
        [0.5, 0.5],
        [0, 1],
    ]


def test_identity() -> None:
    assert values("identity", [[-2, 3]]) == [[-2, 3]]
    assert slopes("identity", [[-2, 3]]) == [[1, 1]]
