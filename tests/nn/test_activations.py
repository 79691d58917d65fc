from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from nn.activations import ACTIVATIONS, Activation, Array
from nn.spec import ActivationName
from tests.nn.support import DTYPES, assert_gradient, central_differences

each_activation = pytest.mark.parametrize("function", ACTIVATIONS.values(), ids=ACTIVATIONS)


def applied(name: ActivationName, x: object) -> list[list[float]]:
    given = np.array(x, float)
    out = np.empty_like(given)
    ACTIVATIONS[name].forward(given, out)
    return out.tolist()  # type: ignore[no-any-return]


def test_every_name_has_its_function() -> None:
    assert set(ACTIVATIONS) == set(get_args(ActivationName))


@each_activation
@pytest.mark.parametrize("n_samples", [1, 5])
def test_derivative_agrees_with_central_differences(
    function: Activation, n_samples: int, rng: np.random.Generator
) -> None:
    x, dy = rng.standard_normal((2, n_samples, 4))
    y, dx = np.empty_like(x), np.empty_like(x)

    def weighted_sum() -> float:
        out = np.empty_like(x)
        function.forward(x, out)
        return float(np.sum(out * dy))

    function.forward(x, y)
    function.backward(dy, y, dx, np.empty_like(y))
    assert_gradient(dx, central_differences(weighted_sum, x))


@each_activation
@pytest.mark.parametrize("dtype", DTYPES)
def test_may_write_over_what_it_reads(function: Activation, dtype: str, rng: np.random.Generator) -> None:
    x, dy = rng.standard_normal((2, 3, 4)).astype(dtype)
    y, dx = np.empty_like(x), np.empty_like(x)
    function.forward(x, y)
    function.backward(dy, y, dx, np.empty_like(y))
    over_x, over_dy = x.copy(), dy.copy()
    function.forward(over_x, over_x)
    function.backward(over_dy, y, over_dy, np.empty_like(y))
    np.testing.assert_array_equal(over_x, y)
    np.testing.assert_array_equal(over_dy, dx)


@each_activation
@pytest.mark.parametrize("dtype", DTYPES)
def test_neither_direction_overflows_at_extreme_inputs(function: Activation, dtype: str) -> None:
    x: Array = np.array([[1000, -1000, 0], [-1000, -1000, -1000], [1e30, -1e30, 1e30]], dtype)
    y, dx = np.empty_like(x), np.empty_like(x)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        function.forward(x, y)
        function.backward(np.ones_like(x), y, dx, np.empty_like(y))
    assert np.isfinite(y).all()
    assert np.isfinite(dx).all()


def test_relu() -> None:
    assert applied("relu", [[-2, 0, 3]]) == [[0, 0, 3]]


def test_tanh() -> None:
    assert applied("tanh", [[0, 1000, -1000]]) == [[0, 1, -1]]


def test_sigmoid() -> None:
    assert applied("sigmoid", [[0, 1000, -1000]]) == [[0.5, 1, 0]]
    assert applied("sigmoid", [[np.log(3)]]) == [[pytest.approx(0.75)]]


def test_softmax_of_each_row_adds_up_to_one() -> None:
    assert applied("softmax", [[0, np.log(3)], [1000, 1000], [-1000, 1000]]) == [
        pytest.approx([0.25, 0.75]),
        [0.5, 0.5],
        [0, 1],
    ]


def test_identity() -> None:
    assert applied("identity", [[-2, 3]]) == [[-2, 3]]
