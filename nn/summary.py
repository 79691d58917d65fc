"""What a network is made of, layer by layer: shapes, parameters, multiply-adds and memory; nothing is allocated."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nn.layers import Elementwise, Shape
from nn.network import build_layers, input_shape
from nn.spec import ActivationName, NetworkSpec


@dataclass(frozen=True, kw_only=True)
class LayerSummary:
    """One layer, in the order and by the name of the spec.

    `output_shape` leaves out the samples: `(height, width, channels)` of pictures, `(n_features,)` of rows.
    `parameters` counts the numbers that are trained, `array_bytes` the memory of all that an artifact keeps of the
    layer. `multiply_adds` and `activation_bytes`, the memory of the output, are those of one sample on its way forward.
    """

    index: int
    type: str
    output_shape: Shape
    parameters: int
    multiply_adds: int
    array_bytes: int
    activation_bytes: int


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The layers of a network, the shape of a sample as the first of them takes it, and the sums over all layers."""

    input_shape: Shape
    layers: tuple[LayerSummary, ...]
    parameters: int
    multiply_adds: int
    array_bytes: int
    activation_bytes: int


def summarize(spec: NetworkSpec, sample_shape: Shape, output: ActivationName) -> Summary:
    """The summary of the network that `Network` makes of the same arguments. Raises `SpecError` as that does."""
    built = build_layers(spec, sample_shape, output)
    size = np.dtype(spec.dtype).itemsize
    first = shape = input_shape(spec, sample_shape)
    layers = []
    for index, described in enumerate(spec.layers):
        # An activation keeps the shape that comes in. What was built may be none, for the output function, or stand
        # behind the max pool that follows.
        layer = None if isinstance(built.get(index), Elementwise) else built.get(index)
        trained = kept = 0
        if layer is not None:
            shape = layer.output_shape
            trained = _numbers(layer.weight_shapes) + _numbers(layer.offset_shapes)
            kept = _numbers(layer.statistic_shapes)
        layers.append(
            LayerSummary(
                index=index,
                type=described.type,
                output_shape=shape,
                parameters=trained,
                multiply_adds=0 if layer is None else layer.multiply_adds,
                array_bytes=size * (trained + kept),
                activation_bytes=size * math.prod(shape),
            )
        )
    return Summary(
        input_shape=first,
        layers=tuple(layers),
        parameters=sum(layer.parameters for layer in layers),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        array_bytes=sum(layer.array_bytes for layer in layers),
        activation_bytes=sum(layer.activation_bytes for layer in layers),
    )


def _numbers(shapes: dict[str, Shape]) -> int:
    return sum(map(math.prod, shapes.values()))
