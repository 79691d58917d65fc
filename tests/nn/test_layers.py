from __future__ import annotations

from itertools import chain
from typing import get_args

import numpy as np
import pytest

from nn import SpecError
from nn.activations import Array
from nn.layers import Layer, build
from nn.schema import type_names
from nn.spec import ActivationName, ActivationSpec, DenseSpec, LayerSpec
from tests.nn.support import DTYPES, assert_gradient, central_differences

N_INPUTS = 4
LAYERS: tuple[LayerSpec, ...] = (
    DenseSpec(units=3),
    *(ActivationSpec(type=name) for name in get_args(ActivationName)),
)
each_layer = pytest.mark.parametrize("spec", LAYERS, ids=lambda spec: spec.type)


def built(spec: LayerSpec, rng: np.random.Generator, dtype: str = "float64") -> Layer:
    """The layer with its own parameters, none of them at a special value."""
    layer = build(spec, (N_INPUTS,))
    layer.bind({name: np.empty(shape, dtype) for name, shape in layer.parameter_shapes.items()})
    layer.initialize(rng)
    for values in layer.parameters.values():
        values += 0.1
    return layer


def empty_gradients(layer: Layer) -> dict[str, Array]:
    return {name: np.full_like(values, np.nan) for name, values in layer.parameters.items()}


def test_the_table_has_every_kind_of_layer() -> None:
    kinds = get_args(LayerSpec)
    assert {spec.type for spec in LAYERS} == set(chain.from_iterable(map(type_names, kinds)))


@each_layer
@pytest.mark.parametrize("n_samples", [1, 5])
def test_gradients_agree_with_central_differences(spec: LayerSpec, n_samples: int, rng: np.random.Generator) -> None:
    layer = built(spec, rng)
    x = rng.standard_normal((n_samples, N_INPUTS))
    dy = rng.standard_normal((n_samples, *layer.output_shape))
    space = layer.workspace(n_samples, "float64", empty_gradients(layer), input_gradient=True)

    def weighted_sum() -> float:
        return float(np.sum(layer.forward(x, layer.workspace(n_samples, "float64")) * dy))

    layer.forward(x, space)
    dx = layer.backward(dy.copy(), space)
    assert dx is not None
    assert_gradient(dx, central_differences(weighted_sum, x))
    for name, values in layer.parameters.items():
        assert_gradient(space.gradients[name], central_differences(weighted_sum, values))


@each_layer
def test_without_a_buffer_for_it_there_is_no_gradient_of_the_input(spec: LayerSpec, rng: np.random.Generator) -> None:
    layer = built(spec, rng)
    space = layer.workspace(2, "float64", empty_gradients(layer))
    y = layer.forward(rng.standard_normal((2, N_INPUTS)), space)
    assert layer.backward(np.ones_like(y), space) is None
    assert all(np.isfinite(values).all() for values in space.gradients.values())


@each_layer
@pytest.mark.parametrize("dtype", DTYPES)
def test_buffers_are_reused_and_keep_their_dtype(spec: LayerSpec, dtype: str, rng: np.random.Generator) -> None:
    layer = built(spec, rng, dtype)
    gradients = empty_gradients(layer)
    space = layer.workspace(3, dtype, gradients, input_gradient=True)
    first, second = rng.standard_normal((2, 3, N_INPUTS)).astype(dtype)
    before = second.copy()
    y, dx = space.y, space.dx
    for x in (first, second):
        assert layer.forward(x, space) is y
        assert layer.backward(np.ones_like(y), space) is dx
    assert dx is not None
    assert {y.dtype, dx.dtype, *(values.dtype for values in gradients.values())} == {np.dtype(dtype)}
    np.testing.assert_array_equal(second, before)


def test_dense_by_hand() -> None:
    layer = build(DenseSpec(units=2), (2,))
    layer.bind({"weight": np.array([[1.0, 2], [3, 4]]), "bias": np.array([10.0, 20])})
    y = layer.forward(np.array([[1.0, 0], [1, 1]]), layer.workspace(2, "float64"))
    assert y.tolist() == [[11, 22], [14, 26]]


def test_building_allocates_nothing() -> None:
    layer = build(DenseSpec(units=10**6), (10**6,))
    assert layer.parameter_shapes == {"weight": (10**6, 10**6), "bias": (10**6,)}


def test_dense_refuses_more_than_one_axis() -> None:
    with pytest.raises(SpecError, match=r"dense takes one axis of numbers; what comes in has the shape \(28, 28\)"):
        build(DenseSpec(units=2), (28, 28))
