"""A network from its spec: parameters by name, forward and backward."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nn import memory
from nn.activations import ACTIVATIONS, Array
from nn.convolution import AveragePool2D, Conv2D, GlobalAveragePool2D, MaxPool2D
from nn.errors import InputError, Problem, ShapeError, SpecError
from nn.layers import (
    PICTURES,
    Arrays,
    Dense,
    Dropout,
    DType,
    Elementwise,
    Flatten,
    Layer,
    Shape,
    array_shape,
    described,
    is_picture,
)
from nn.normalization import BatchNorm
from nn.spec import ActivationName, ActivationSpec, Conv2DSpec, NetworkSpec, Pool2DSpec, ReshapeSpec

AnyLayer = Layer[Any]
LAYERS: dict[str, Any] = {
    "conv2d": Conv2D,
    "max_pool2d": MaxPool2D,
    "average_pool2d": AveragePool2D,
    "global_average_pool2d": GlobalAveragePool2D,
    "flatten": Flatten,
    "dense": Dense,
    "dropout": Dropout,
    "batch_norm": BatchNorm,
} | dict.fromkeys(ACTIVATIONS, Elementwise)


def takes_pictures(spec: NetworkSpec) -> bool:
    """Whether a network has layers for pictures; one that has none takes a picture as one row of numbers."""
    return any(isinstance(layer, Conv2DSpec | Pool2DSpec | ReshapeSpec) for layer in spec.layers)


def build_layers(spec: NetworkSpec, sample_shape: Shape, output: ActivationName) -> dict[int, AnyLayer]:
    """The layers from the input to the logits by their place in the spec, in the order of work; nothing is allocated.

    A last layer that is the output function itself is left out, since the loss wants what goes into it. An activation
    that never falls changes places with a max pool behind it: the result is the same, of fewer numbers. Raises
    `SpecError` where a layer cannot take what the one before it gives.
    """
    last = spec.layers[-1]
    chosen = spec.layers[:-1] if isinstance(last, ActivationSpec) and last.type == output else spec.layers
    shape = input_shape(spec, sample_shape)
    built: dict[int, AnyLayer] = {}
    for index, layer in enumerate(chosen):
        try:
            built[index] = LAYERS[layer.type](layer, shape)
        except SpecError as error:
            here = f"#/network/layers/{index}"
            raise SpecError(Problem(here + problem.pointer[1:], problem.detail) for problem in error.problems) from None
        shape = built[index].output_shape
        before = built.get(index - 1)
        if isinstance(built[index], MaxPool2D) and isinstance(before, Elementwise) and before.function.monotone:
            del built[index - 1]
            built[index - 1] = Elementwise(before.spec, shape)
    if is_picture(shape):
        raise SpecError.at(
            f"#/network/layers/{len(spec.layers) - 1}",
            f"the network gives {described(shape)}; put flatten or global_average_pool2d, and a dense layer, behind",
        )
    return built


def input_shape(spec: NetworkSpec, sample_shape: Shape) -> Shape:
    """The shape in which a network takes samples of a shape."""
    return sample_shape if takes_pictures(spec) else (math.prod(sample_shape),)


def weight_shapes(built: Mapping[int, AnyLayer]) -> dict[str, Shape]:
    """The weights, which weight decay applies to, by name: `layers.<index>.<name>`."""
    return {f"layers.{at}.{name}": shape for at in sorted(built) for name, shape in built[at].weight_shapes.items()}


def parameter_shapes(built: Mapping[int, AnyLayer]) -> dict[str, Shape]:
    """All that is trained, in the order of the network's vector: the weights first, then biases and scales."""
    return weight_shapes(built) | {
        f"layers.{at}.{name}": shape for at in sorted(built) for name, shape in built[at].offset_shapes.items()
    }


def statistic_shapes(built: Mapping[int, AnyLayer]) -> dict[str, Shape]:
    """What is kept and not trained."""
    return {f"layers.{at}.{name}": shape for at in sorted(built) for name, shape in built[at].statistic_shapes.items()}


def array_shapes(built: Mapping[int, AnyLayer]) -> dict[str, Shape]:
    """All arrays that make up a network, layer by layer."""
    shapes = parameter_shapes(built) | statistic_shapes(built)
    return {name: shapes[name] for name in sorted(shapes, key=lambda name: int(name.split(".")[1]))}


EVALUATION_BLOCK = 1024  # rows that are evaluated at once: large enough for BLAS, small enough for the cache
BLOCK_NUMBERS = 2**22  # and fewer of them where the layers are so wide that this many numbers would not do


def block_size(built: Mapping[int, AnyLayer], shape: Shape) -> int:
    """How many samples go through these layers at once where none of what they leave behind is kept."""
    if is_picture(shape):
        return max(1, min(PICTURES, 4 * BLOCK_NUMBERS // max(layer.training_numbers for layer in built.values())))
    widths = math.prod(shape) + sum(math.prod(layer.output_shape) for layer in built.values())
    return max(1, min(EVALUATION_BLOCK, BLOCK_NUMBERS // widths))


class Network:
    """A network whose parameters are views into one flat vector, and its running statistics into another.

    `output` is the function from logits to answers: that of the loss the network is trained with. Without `rng` all
    numbers are zeros, to be filled by `load`.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        sample_shape: Shape,
        output: ActivationName,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.spec = spec
        self.input_shape = input_shape(spec, sample_shape)
        self.output = output
        self.dtype: DType = np.dtype(spec.dtype)
        self.layers = build_layers(spec, sample_shape, output)
        self._order = list(self.layers.values())
        self.output_shape = self._order[-1].output_shape if self._order else self.input_shape
        self.block_size = block_size(self.layers, self.input_shape)
        trained, kept = parameter_shapes(self.layers), statistic_shapes(self.layers)
        self.vector = memory.zeros((sum(map(math.prod, trained.values())),), self.dtype)
        self.statistics = memory.zeros((sum(map(math.prod, kept.values())),), self.dtype)
        self.n_weights = sum(map(math.prod, weight_shapes(self.layers).values()))
        found = _views(self.vector, trained) | _views(self.statistics, kept)
        self.arrays = {name: found[name] for name in array_shapes(self.layers)}
        for index, layer in sorted(self.layers.items()):
            layer.bind(_of_layer(self.arrays, index))
            if rng is not None:
                layer.initialize(rng)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy made array by array would have views that view nothing.
        return _restored, (self.spec, self.input_shape, self.output, self.vector.copy(), self.statistics.copy())

    def load(self, arrays: Arrays) -> None:
        """Copies the arrays in. Raises `ShapeError` unless names and shapes are exactly this network's."""
        if set(arrays) != set(self.arrays):
            raise ShapeError.at("#", f"expected {', '.join(self.arrays)}; got {', '.join(arrays)}")
        for name, own in self.arrays.items():
            if arrays[name].shape != own.shape:
                raise ShapeError.at("#", f"{name}: expected shape {own.shape}; got {arrays[name].shape}")
        for name, own in self.arrays.items():
            own[...] = arrays[name]

    def logits(self, x: Array) -> Array:
        """What goes into the output function, `(n_samples, n_outputs)`, for `x` `(n_samples, *input_shape)`."""
        if x.shape[1:] != self.input_shape:
            raise ShapeError.at("#", f"expected samples of shape {self.input_shape}; got {x.shape[1:]}")
        if x.dtype.kind not in "biuf":
            raise InputError.at("#", f"expected real numbers; got an array of {x.dtype}")
        out = np.empty((len(x), *self.output_shape), self.dtype)
        # What is not finite, or overflows on the way, is told by what comes out; NumPy's warnings depend on the BLAS.
        with np.errstate(all="ignore"):
            for start in range(0, len(x), self.block_size):
                block = x[start : start + self.block_size].astype(self.dtype, copy=False)
                out[start : start + len(block)] = self._forward(block)
        return out

    def _forward(self, block: Array) -> Array:
        x, n = block, len(block)
        if is_picture(self.input_shape):
            x = np.ascontiguousarray(x.transpose(1, 3, 2, 0))
        own = x is not block and not np.may_share_memory(x, block)
        for layer in self._order:
            y = x if own and layer.in_place else memory.empty(array_shape(layer.output_shape, n), self.dtype)
            given, x = x, layer.forward(x, layer.workspace(n, self.dtype, False, None, y))
            own = own or x is not given
        return x

    def predict(self, x: Array) -> Array:
        """The answers: probabilities or values, `(n_samples, n_outputs)`.

        Keeps nothing and touches no state of the network: any number of threads may call it at once.
        """
        logits = self.logits(x)
        with np.errstate(all="ignore"):
            ACTIVATIONS[self.output].forward(logits, logits)
        return logits

    def frozen(self) -> Network:
        """This network for predictions alone: batch normalisation goes into the weights next to it, where it can.

        That is into a dense or convolutional layer directly before it, or a dense one directly behind. Where there is
        none it stays. The answers are the same up to rounding. A network that has none is given back itself.
        """
        if not any(isinstance(layer, BatchNorm) for layer in self.layers.values()):
            return self
        kept = dict(enumerate(self.spec.layers))
        arrays = {name: array.copy() for name, array in self.arrays.items()}
        for index, layer in self.layers.items():
            if isinstance(layer, BatchNorm) and self._fold(index, layer, arrays):
                del kept[index]
        frozen = Network(replace(self.spec, layers=tuple(kept.values())), self.input_shape, self.output)
        for new, old in enumerate(kept):
            for name, array in _of_layer(arrays, old).items():
                frozen.arrays[f"layers.{new}.{name}"][...] = array
        return frozen

    def _fold(self, index: int, layer: BatchNorm, arrays: dict[str, Array]) -> bool:
        """Works the normalisation at `index` into the arrays of a layer next to it; False where there is none."""
        factor, summand = layer.factors()
        before, behind = self.layers.get(index - 1), self.layers.get(index + 1)
        if isinstance(before, Dense | Conv2D):
            weight, bias = arrays[f"layers.{index - 1}.weight"], arrays[f"layers.{index - 1}.bias"]
            weight *= factor if isinstance(before, Dense) else factor[:, np.newaxis, np.newaxis, np.newaxis]
            bias *= factor
            bias += summand
            return True
        if isinstance(behind, Dense):
            weight, bias = arrays[f"layers.{index + 1}.weight"], arrays[f"layers.{index + 1}.bias"]
            bias += summand @ weight
            weight *= factor[:, np.newaxis]
            return True
        return False

    def of_layer(self, index: int, vector: Array) -> dict[str, Array]:
        """The part of a vector like `self.vector` that belongs to a layer: views, by the layer's own names."""
        return _of_layer(_views(vector, parameter_shapes(self.layers)), index)


def _restored(spec: NetworkSpec, shape: Shape, output: ActivationName, vector: Array, statistics: Array) -> Network:
    network = Network(spec, shape, output)
    network.vector[...], network.statistics[...] = vector, statistics
    return network


def _views(vector: Array, shapes: Mapping[str, Shape]) -> dict[str, Array]:
    views, start = {}, 0
    for name, shape in shapes.items():
        stop = start + math.prod(shape)
        views[name] = vector[start:stop].reshape(shape)
        start = stop
    return views


def _of_layer(arrays: Arrays, index: int) -> dict[str, Array]:
    """A layer's own arrays, by its own names for them."""
    prefix = f"layers.{index}."
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
