"""What several test modules share: networks in shorthand, samples, targets that fit a loss, central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from nn import NetworkSpec, Samples, TrainingSpec
from nn.activations import Array
from nn.features import NumberFeatures
from nn.layers import Drawing, Layer, Shape, array_shape, is_picture
from nn.losses import LOSSES, Targets
from nn.network import LAYERS, Network
from nn.normalization import BatchNorm
from nn.spec import (
    ActivationName,
    ActivationSpec,
    BatchNormSpec,
    Conv2DSpec,
    DenseSpec,
    DropoutSpec,
    DTypeName,
    InitializerName,
    LayerSpec,
    LossName,
    PaddingName,
    Pool2DSpec,
    ReshapeSpec,
    SGDSpec,
)

DTYPES: tuple[DTypeName, ...] = get_args(DTypeName)
NAMED: dict[str, LayerSpec] = {
    "batch_norm": BatchNormSpec(),
    "max_pool2d": Pool2DSpec(type="max_pool2d"),
    "average_pool2d": Pool2DSpec(type="average_pool2d"),
    "global_average_pool2d": ReshapeSpec(type="global_average_pool2d"),
    "flatten": ReshapeSpec(type="flatten"),
    "dropout": DropoutSpec(rate=0.5),
}
Shorthand = int | str | LayerSpec


def layers(*shorthand: Shorthand, initializer: InitializerName = "he") -> tuple[LayerSpec, ...]:
    """`layers(conv(4), "relu", "flatten", 1)`.

    A number is a dense layer of so many units, a word an activation or another layer as it is by default (dropout with
    a rate of a half), and a description stands for itself.
    """
    return tuple(
        DenseSpec(units=item, initializer=initializer)
        if isinstance(item, int)
        else NAMED.get(item) or ActivationSpec(type=cast("ActivationName", item))
        if isinstance(item, str)
        else item
        for item in shorthand
    )


def conv(filters: int, kernel_size: int = 3, *, stride: int = 1, padding: PaddingName = "valid") -> Conv2DSpec:
    return Conv2DSpec(filters=filters, kernel_size=kernel_size, stride=stride, padding=padding)


def max_pool(pool_size: int = 2, stride: int | None = None) -> Pool2DSpec:
    return Pool2DSpec(type="max_pool2d", pool_size=pool_size, stride=stride)


def average_pool(pool_size: int = 2, stride: int | None = None) -> Pool2DSpec:
    return Pool2DSpec(type="average_pool2d", pool_size=pool_size, stride=stride)


ROW: Shape = (3,)
PICTURE: Shape = (5, 4, 2)
LARGER: Shape = (7, 6, 2)
GLOBAL = "global_average_pool2d"

# What stands before the last dense layer of networks that are checked as a whole, with the shape that goes in. Every
# layer has another behind it, and most have one with parameters before, so that the gradient of what goes in counts.
BODIES: dict[str, tuple[Shape, tuple[Shorthand, ...]]] = {
    "dense alone": (ROW, ()),
    "dense after dense": (ROW, (5, 4)),
    "an activation first": (ROW, ("tanh", 4, "relu")),
    "activations in a row": (ROW, (4, "tanh", "gelu", "softmax", "identity")),
    **{name: (ROW, (4, name, 3, name)) for name in get_args(ActivationName)},
    "dropout": (ROW, (4, DropoutSpec(rate=0.3), 4, "relu", "dropout")),
    "dropout first": (ROW, ("dropout", "relu", 4)),
    "dropout behind what keeps its output": (ROW, (4, "tanh", "dropout", "gelu", "dropout")),
    "batch norm on rows": (ROW, (4, "batch_norm", "tanh")),
    "batch norm first of all": (ROW, ("batch_norm", 4)),
    "batch norm behind dropout": (ROW, (4, "dropout", "batch_norm", "dropout")),
    "batch norms in a row": (ROW, (4, "batch_norm", "batch_norm")),
    "convolution": (PICTURE, (conv(2, 2), GLOBAL)),
    "convolutions": (PICTURE, (conv(2, 2, stride=2), conv(2, 3, padding="same"), "tanh", GLOBAL)),
    "convolution, flattened": (PICTURE, (conv(1, 3), "gelu", "flatten", "relu")),
    "flatten first": (PICTURE, ("flatten",)),
    "means first": (PICTURE, (GLOBAL, "tanh")),
    "an activation on pictures first": (PICTURE, ("tanh", conv(2, 1), GLOBAL)),
    "max pool": (PICTURE, (conv(2, 1), max_pool(), GLOBAL)),
    "max pool first": (PICTURE, (max_pool(), conv(2, 1), GLOBAL)),
    "max pool behind an activation": (PICTURE, (conv(2, 1), "relu", max_pool(), conv(1, 2, padding="same"), GLOBAL)),
    "max pool behind gelu": (PICTURE, (conv(2, 1), "gelu", max_pool(3, 1), "flatten")),
    "max pool behind two activations": (PICTURE, (conv(2, 1), "gelu", "tanh", max_pool(2, 1), GLOBAL)),
    "max pools in a row": (PICTURE, (conv(2, 1), max_pool(2, 1), "tanh", max_pool(3), GLOBAL)),
    "average pool": (PICTURE, (conv(2, 1), average_pool(), "tanh", average_pool(2, 1), GLOBAL)),
    "batch norm on pictures": (PICTURE, (conv(2, 1), "batch_norm", "relu", max_pool(), GLOBAL)),
    "batch norm on pictures first of all": (PICTURE, ("batch_norm", conv(2, 2), GLOBAL)),
    "batch norm behind a pool": (PICTURE, (conv(2, 2), max_pool(), "batch_norm", GLOBAL)),
    "dropout and batch norm on pictures": (PICTURE, (conv(2, 1), "dropout", "batch_norm", "dropout", GLOBAL)),
    "batch norm on either side of flatten": (PICTURE, (conv(1, 3), "batch_norm", "flatten", "batch_norm", "dropout")),
    "pictures without parameters": (PICTURE, ("dropout", "tanh", average_pool(), "flatten", "batch_norm")),
}

# Of every kind one, for pictures as large as LARGER, down to three outputs.
EVERYTHING: tuple[Shorthand, ...] = (
    conv(3, padding="same"),
    "batch_norm",
    "relu",
    max_pool(),
    conv(4, 2, stride=2, padding="same"),
    "gelu",
    "dropout",
    average_pool(2, 1),
    "flatten",
    6,
    "batch_norm",
    "elu",
    "dropout",
    3,
)


def network(
    sample_shape: int | Shape,
    *shorthand: Shorthand,
    loss: LossName = "mean_squared_error",
    dtype: DTypeName = "float64",
    seed: int = 0,
) -> Network:
    """A number stands for the shape of rows."""
    spec = NetworkSpec(layers=layers(*shorthand), dtype=dtype)
    shape = (sample_shape,) if isinstance(sample_shape, int) else sample_shape
    return Network(spec, shape, LOSSES[loss].output, np.random.default_rng(seed))


def unsettle(net: Network, rng: np.random.Generator) -> Network:
    """The same network with none of its numbers at a special value, as after some training."""
    net.vector += 0.2 * rng.standard_normal(net.vector.shape)
    net.statistics[...] = rng.uniform(0.5, 2, net.statistics.shape)
    return net


class Bench:
    """One layer by itself, over `n_samples`, with arrays, gradients and buffers of its own.

    Samples go in and come out as `(n_samples, *shape)`, whatever the layer has them in. No array is at a special value
    and no buffer at a number before it is written.
    """

    def __init__(
        self,
        spec: LayerSpec,
        input_shape: Shape,
        n_samples: int,
        rng: np.random.Generator,
        *,
        dtype: DTypeName = "float64",
        training: bool = True,
        input_gradient: bool = True,
    ) -> None:
        self.layer: Layer[Any] = LAYERS[spec.type](spec, input_shape)
        self.n_samples = n_samples
        layer, kind = self.layer, np.dtype(dtype)
        trained = layer.weight_shapes | layer.offset_shapes
        shapes = trained | layer.statistic_shapes
        self.arrays: dict[str, Array] = {name: np.full(shape, np.nan, kind) for name, shape in shapes.items()}
        layer.bind(self.arrays)
        layer.initialize(rng)
        for values in self.arrays.values():
            values += rng.uniform(0.1, 0.5, values.shape)
        self.gradients: dict[str, Array] = {name: np.full(shape, np.nan, kind) for name, shape in trained.items()}
        self.y: Array = np.full(array_shape(layer.output_shape, n_samples), np.nan, kind)
        self.dx: Array | None = None
        if input_gradient:
            self.dx = np.full(array_shape(layer.input_shape, n_samples), np.nan, kind)
        self.space = layer.workspace(n_samples, kind, training, self.dx, self.y)
        if isinstance(layer, Drawing) and training:
            layer.draw(self.space, rng)

    def forward(self, x: Array) -> Array:
        arranged = _arranged(x)
        if isinstance(self.layer, BatchNorm) and self.space.training:
            self.layer.measure(arranged, self.space)
            self.layer.combine([self.n_samples], [self.space])
        return _plain(self.layer.forward(arranged, self.space))

    def backward(self, dy: Array) -> Array | None:
        arranged = _arranged(dy)
        if isinstance(self.layer, BatchNorm):
            self.layer.measure_backward(arranged, self.space)
            self.layer.combine_backward([self.space], self.gradients)
        dx = self.layer.backward(arranged, self.space, self.gradients)
        return None if dx is None else _plain(dx)


def _arranged(x: Array) -> Array:
    """Samples as layers take them: a copy, for pictures in a block."""
    return np.array(x.transpose(1, 3, 2, 0) if is_picture(x.shape[1:]) else x, order="C")


def _plain(y: Array) -> Array:
    return np.array(y.transpose(3, 0, 2, 1) if y.ndim == 4 else y, order="C")


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
