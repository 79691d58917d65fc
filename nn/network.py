"""A network from its spec: parameters by name, forward and backward."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from nn import layers
from nn.activations import ACTIVATIONS, Array
from nn.errors import ShapeError
from nn.layers import Layer, Shape
from nn.spec import ActivationName, ActivationSpec, NetworkSpec


def build_layers(spec: NetworkSpec, input_shape: Shape, output: ActivationName) -> list[Layer]:
    """The layers from the input to the logits; nothing is allocated.

    A last layer that is the output function itself is left out, since the loss wants what goes into it.
    """
    last = spec.layers[-1]
    described = spec.layers[:-1] if isinstance(last, ActivationSpec) and last.type == output else spec.layers
    built: list[Layer] = []
    for layer in described:
        built.append(layers.build(layer, built[-1].output_shape if built else input_shape))
    return built


def parameter_shapes(built: list[Layer]) -> dict[str, Shape]:
    """Every parameter's name, `layers.<index>.<name>`, and shape, in the order of the network's vector."""
    return {
        f"layers.{index}.{name}": shape
        for index, layer in enumerate(built)
        for name, shape in layer.parameter_shapes.items()
    }


EVALUATION_BLOCK = 1024  # samples that are evaluated at once: large enough for BLAS, small enough for the cache
BLOCK_NUMBERS = 2**22  # and fewer of them where the layers are so wide that this many numbers would not do


def block_size(built: list[Layer], input_shape: Shape) -> int:
    """How many samples go through these layers at once where none of what they leave behind is kept."""
    widths = math.prod(input_shape) + sum(math.prod(layer.output_shape) for layer in built)
    return max(1, min(EVALUATION_BLOCK, BLOCK_NUMBERS // widths))


class Network:
    """A network whose parameters are views into one flat vector.

    `output` is the function from logits to answers: that of the loss the network is trained with. Without `rng` the
    parameters are zeros, to be filled by `load`.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        input_shape: Shape,
        output: ActivationName,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.spec = spec
        self.input_shape = input_shape
        self.output = output
        self.dtype: np.dtype[np.floating] = np.dtype(spec.dtype)
        self.layers = build_layers(spec, input_shape, output)
        self.output_shape = self.layers[-1].output_shape if self.layers else input_shape
        self.block_size = block_size(self.layers, input_shape)
        shapes = parameter_shapes(self.layers)
        self.vector: Array = np.zeros(sum(math.prod(shape) for shape in shapes.values()), self.dtype)
        self.parameters = self._views(self.vector)
        for layer, own in zip(self.layers, self._by_layer(self.parameters), strict=True):
            layer.bind(own)
            if rng is not None:
                layer.initialize(rng)

    def load(self, parameters: Mapping[str, Array]) -> None:
        """Copies parameters in. Raises `ShapeError` unless names and shapes are exactly this network's."""
        if set(parameters) != set(self.parameters):
            raise ShapeError.at("#", f"expected {', '.join(self.parameters)}; got {', '.join(parameters)}")
        for name, own in self.parameters.items():
            if parameters[name].shape != own.shape:
                raise ShapeError.at("#", f"{name}: expected shape {own.shape}; got {parameters[name].shape}")
            own[...] = parameters[name]

    def logits(self, x: Array) -> Array:
        """What goes into the output function, `(n_samples, n_outputs)`, for `x` `(n_samples, *input_shape)`."""
        if x.shape[1:] != self.input_shape:
            raise ShapeError.at("#", f"expected samples of shape {self.input_shape}; got {x.shape[1:]}")
        # What is not finite, or overflows on the way, is told by what comes out; NumPy's warnings depend on the BLAS.
        with np.errstate(all="ignore"):
            x = x.astype(self.dtype, copy=False)
            for layer in self.layers:
                x = layer.forward(x, layer.workspace(len(x), self.dtype))
        return x

    def predict(self, x: Array) -> Array:
        """The answers: probabilities or values, `(n_samples, n_outputs)`. Touches no state of the network."""
        logits = self.logits(x)
        answers = np.empty_like(logits)
        with np.errstate(all="ignore"):
            ACTIVATIONS[self.output].forward(logits, answers)
        return answers

    def _views(self, vector: Array) -> dict[str, Array]:
        views, start = {}, 0
        for name, shape in parameter_shapes(self.layers).items():
            stop = start + math.prod(shape)
            views[name] = vector[start:stop].reshape(shape)
            start = stop
        return views

    def _by_layer(self, views: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
        for index, layer in enumerate(self.layers):
            yield {name: views[f"layers.{index}.{name}"] for name in layer.parameter_shapes}

    def tape(self, n_samples: int, gradients: Array) -> Tape:
        """The buffers to train on batches of `n_samples`; `gradients` is a vector like `self.vector`."""
        return Tape(self, n_samples, list(self._by_layer(self._views(gradients))))


class Tape:
    """A forward pass that can be run backward, over buffers for batches of one size."""

    def __init__(self, network: Network, n_samples: int, gradients: list[dict[str, Array]]) -> None:
        # Below the first layer that has parameters no gradient is of use to anybody.
        trained = [index for index, own in enumerate(gradients) if own]
        first = trained[0] if trained else 0
        self.x: Array = np.empty((n_samples, *network.input_shape), network.dtype)
        self._steps = [
            (layer, layer.workspace(n_samples, network.dtype, own, input_gradient=index > first))
            for index, (layer, own) in enumerate(zip(network.layers, gradients, strict=True))
        ]
        self._backward_steps = self._steps[first:][::-1]

    def forward(self) -> Array:
        """The logits for the batch that stands in `self.x`; the array is overwritten by the next call."""
        x = self.x
        for layer, space in self._steps:
            x = layer.forward(x, space)
        return x

    def backward(self, dlogits: Array) -> None:
        """Fills the gradients' vector with the derivatives of the loss, given those by the logits; may change them."""
        dy: Array | None = dlogits
        for layer, space in self._backward_steps:
            assert dy is not None
            dy = layer.backward(dy, space)
