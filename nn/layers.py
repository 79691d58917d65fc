"""Layers: what a network is made of, forward and backward, in buffers that are allocated once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import DTypeLike

from nn.activations import ACTIVATIONS, Array
from nn.errors import SpecError
from nn.initializers import initialize
from nn.spec import ActivationSpec, DenseSpec, LayerSpec

Shape = tuple[int, ...]


@dataclass(slots=True)
class Workspace:
    """The buffers of one layer for batches of one size, and what its backward pass needs of its forward pass.

    Without `gradients` it serves forward passes only. `dx` is None where nobody asks for the gradient of the input, as
    for the first layer of a network.
    """

    y: Array
    x: Array | None = None
    dx: Array | None = None
    scratch: Array | None = None
    gradients: Mapping[str, Array] = field(default_factory=dict)


class Layer(ABC):
    """One layer. Building it allocates nothing; its parameters are bound to it as views into the network's vector.

    Shapes leave out the first axis, the samples. `uses_scratch` says that the backward pass wants room like its output.
    """

    uses_scratch = False

    def __init__(self, input_shape: Shape, output_shape: Shape) -> None:
        self.input_shape = input_shape
        self.output_shape = output_shape
        self.parameters: Mapping[str, Array] = {}

    @property
    def parameter_shapes(self) -> dict[str, Shape]:
        return {}

    def bind(self, parameters: Mapping[str, Array]) -> None:
        """Takes the arrays, of `parameter_shapes`, that this layer reads from now on."""
        self.parameters = parameters

    def initialize(self, rng: np.random.Generator) -> None:  # noqa: B027  (most layers have nothing to draw)
        """Gives the parameters their first values."""

    def workspace(
        self,
        n_samples: int,
        dtype: DTypeLike,
        gradients: Mapping[str, Array] | None = None,
        input_gradient: bool = False,
    ) -> Workspace:
        """Buffers for batches of exactly `n_samples`."""
        return Workspace(
            y=np.empty((n_samples, *self.output_shape), dtype),
            dx=np.empty((n_samples, *self.input_shape), dtype) if input_gradient else None,
            scratch=np.empty((n_samples, *self.output_shape), dtype) if input_gradient and self.uses_scratch else None,
            gradients=gradients or {},
        )

    @abstractmethod
    def forward(self, x: Array, space: Workspace) -> Array:
        """The layer's output, in `space.y`, for `x` of shape `(n_samples, *input_shape)`."""

    @abstractmethod
    def backward(self, dy: Array, space: Workspace) -> Array | None:
        """Writes the parameters' gradients into `space.gradients`; the input's gradient, if `space.dx` is there.

        Belongs to the last `forward` with the same workspace, and may change `dy`.
        """


class Dense(Layer):
    """`y = x @ weight + bias` over `(n_samples, n_inputs)`."""

    def __init__(self, spec: DenseSpec, input_shape: Shape) -> None:
        super().__init__(input_shape, (spec.units,))
        self.spec = spec

    @property
    def parameter_shapes(self) -> dict[str, Shape]:
        return {"weight": (*self.input_shape, self.spec.units), "bias": (self.spec.units,)}

    def bind(self, parameters: Mapping[str, Array]) -> None:
        super().bind(parameters)
        self.weight = parameters["weight"]
        self.bias = parameters["bias"]

    def initialize(self, rng: np.random.Generator) -> None:
        initialize(self.weight, self.spec.initializer, rng)
        self.bias[...] = 0

    def forward(self, x: Array, space: Workspace) -> Array:
        space.x = x
        np.matmul(x, self.weight, out=space.y)
        space.y += self.bias
        return space.y

    def backward(self, dy: Array, space: Workspace) -> Array | None:
        assert space.x is not None
        np.matmul(space.x.T, dy, out=space.gradients["weight"])
        np.add.reduce(dy, axis=0, out=space.gradients["bias"])
        return None if space.dx is None else np.matmul(dy, self.weight.T, out=space.dx)


class Elementwise(Layer):
    """An activation function as a layer; of softmax, over each row."""

    uses_scratch = True

    def __init__(self, spec: ActivationSpec, input_shape: Shape) -> None:
        super().__init__(input_shape, input_shape)
        self.function = ACTIVATIONS[spec.type]

    def forward(self, x: Array, space: Workspace) -> Array:
        self.function.forward(x, space.y)
        return space.y

    def backward(self, dy: Array, space: Workspace) -> Array | None:
        if space.dx is not None and space.scratch is not None:
            self.function.backward(dy, space.y, space.dx, space.scratch)
        return space.dx


def build(spec: LayerSpec, input_shape: Shape) -> Layer:
    """The layer that a spec describes, for inputs of a shape. Raises `SpecError` where it cannot take that shape."""
    if isinstance(spec, DenseSpec):
        if len(input_shape) != 1:
            raise SpecError.at("#", f"dense takes one axis of numbers; what comes in has the shape {input_shape}")
        return Dense(spec, input_shape)
    return Elementwise(spec, input_shape)
