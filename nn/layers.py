"""Layers: what a network is made of, forward and backward, in buffers that are allocated once.

Samples are rows of numbers or pictures. A batch of rows is `(n_samples, n_features)`. Pictures, whose shape is told as
`(height, width, channels)`, lie in blocks `(height, channels, width, n_pictures)`: then a row of a picture with all its
channels is one matrix, the columns of all pictures side by side, and a convolution is one matrix product a row of
output (see `convolution`).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from nn.activations import ACTIVATIONS, Array
from nn.errors import SpecError
from nn.initializers import initialize
from nn.spec import ActivationSpec, DenseSpec, DropoutSpec, ReshapeSpec

PICTURES = 16  # pictures a block, in training and in prediction: what they leave behind stays in the cache
Shape = tuple[int, ...]
DType = np.dtype[np.floating[Any]]
Arrays = Mapping[str, Array]


def is_picture(shape: Shape) -> bool:
    """Whether samples of this shape are pictures, and not rows of numbers."""
    return len(shape) == 3


def array_shape(shape: Shape, n_samples: int) -> Shape:
    """The shape of the array that holds so many samples of a shape."""
    if is_picture(shape):
        height, width, channels = shape
        return height, channels, width, n_samples
    return n_samples, *shape


def described(shape: Shape) -> str:
    """The shape of a sample in words."""
    return f"pictures {' × '.join(map(str, shape))}" if is_picture(shape) else f"rows of {shape[0]} numbers"


def require_picture(name: str, shape: Shape) -> None:
    """Raises `SpecError` where a layer that takes pictures would get rows."""
    if not is_picture(shape):
        raise SpecError.at(
            "#",
            f"{name} takes pictures (height × width × channels); what comes in are {described(shape)}; "
            "leave it out, or put it before the layer that makes rows of pictures, if there is one",
        )


@dataclass(slots=True, kw_only=True)
class Workspace:
    """The buffers of one layer for batches, or blocks, of one size, and what its backward pass needs to know.

    `y` is the layer's output. `dx` is where the gradient of its input goes, and None where nobody asks for it, as for
    the first layer of a network. `home` is where the layer would like the gradient of its *output* to be put, if it
    cares. Without `training` it serves forward passes of predictions only.
    """

    y: Array
    training: bool
    dx: Array | None = None
    home: Array | None = None


W = TypeVar("W", bound=Workspace)


class Layer(ABC, Generic[W]):
    """One layer. Building it allocates nothing; its parameters are bound to it as views into the network's vector.

    Shapes leave out the samples. `keeps_y` says that the backward pass reads the output of the forward pass, so that
    the next layer may not work in place on it; `in_place` that this layer would like to.
    """

    keeps_y = False
    in_place = False

    def __init__(self, input_shape: Shape, output_shape: Shape) -> None:
        self.input_shape = input_shape
        self.output_shape = output_shape

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        """The trained arrays that weight decay applies to."""
        return {}

    @property
    def offset_shapes(self) -> dict[str, Shape]:
        """The trained arrays that it does not apply to: biases and scales."""
        return {}

    @property
    def statistic_shapes(self) -> dict[str, Shape]:
        """The arrays that are kept and not trained: running means."""
        return {}

    @property
    def multiply_adds(self) -> int:
        """Multiplications with additions that one sample takes on its way forward."""
        return 0

    @property
    def training_numbers(self) -> int:
        """How many numbers the buffers of one sample hold in training, at most."""
        return math.prod(self.input_shape) + 2 * math.prod(self.output_shape)

    @property
    def block_numbers(self) -> int:
        """How many they hold beside that for each block of pictures in training, whatever its size."""
        return 0

    def bind(self, arrays: Arrays) -> None:
        """Takes the arrays, by name, that this layer reads (and of which it moves the statistics) from now on."""

    def initialize(self, rng: np.random.Generator) -> None:
        """Gives the arrays their first values."""

    @abstractmethod
    def workspace(self, n: int, dtype: DType, training: bool, dx: Array | None, y: Array) -> W:
        """The workspace for `n` samples; `y` is the buffer for the output, which the network chooses."""

    @abstractmethod
    def forward(self, x: Array, space: W) -> Array:
        """The layer's output, in `space.y`, for samples of `input_shape`."""

    @abstractmethod
    def backward(self, dy: Array, space: W, gradients: Arrays) -> Array | None:
        """Writes the trained arrays' gradients into `gradients`; the input's gradient, if `space.dx` is there.

        Belongs to the last `forward` with the same workspace, and may change `dy`.
        """


class Drawing(Layer[W]):
    """A layer that takes random numbers in training."""

    @abstractmethod
    def draw(self, space: W, rng: np.random.Generator) -> None:
        """Draws what the next forward pass with this workspace needs."""


@dataclass(slots=True, kw_only=True)
class DenseSpace(Workspace):
    """`x` is the input of the last forward pass; `ones`, a number a sample, adds samples up in a product."""

    x: Array
    ones: Array


class Dense(Layer[DenseSpace]):
    """`y = x @ weight + bias` over `(n_samples, n_inputs)`."""

    def __init__(self, spec: DenseSpec, input_shape: Shape) -> None:
        if len(input_shape) != 1:
            raise SpecError.at(
                "#",
                f"dense takes rows of numbers; what comes in are {described(input_shape)}; "
                "put flatten or global_average_pool2d before it",
            )
        super().__init__(input_shape, (spec.units,))
        self.spec = spec

    @property
    def weight_shapes(self) -> dict[str, Shape]:
        return {"weight": (*self.input_shape, self.spec.units)}

    @property
    def offset_shapes(self) -> dict[str, Shape]:
        return {"bias": (self.spec.units,)}

    @property
    def multiply_adds(self) -> int:
        return self.input_shape[0] * self.spec.units

    def bind(self, arrays: Arrays) -> None:
        self.weight, self.bias = arrays["weight"], arrays["bias"]

    def initialize(self, rng: np.random.Generator) -> None:
        initialize(self.weight, self.spec.initializer, rng, *self.weight.shape)
        self.bias[...] = 0

    def workspace(self, n: int, dtype: DType, training: bool, dx: Array | None, y: Array) -> DenseSpace:
        return DenseSpace(y=y, training=training, dx=dx, x=y, ones=np.ones(n if training else 0, dtype))

    def forward(self, x: Array, space: DenseSpace) -> Array:
        # `ndarray.dot` is the product of `np.matmul` with half a microsecond less around it.
        space.x = x
        y = space.y
        x.dot(self.weight, y)
        np.add(y, self.bias, y)
        return y

    def backward(self, dy: Array, space: DenseSpace, gradients: Arrays) -> Array | None:
        space.x.T.dot(dy, gradients["weight"])
        space.ones.dot(dy, gradients["bias"])
        return None if space.dx is None else dy.dot(self.weight.T, space.dx)


@dataclass(slots=True, kw_only=True)
class ElementwiseSpace(Workspace):
    x: Array | None = None
    scratch: Array | None = None


class Elementwise(Layer[ElementwiseSpace]):
    """An activation function as a layer; of softmax, over each row."""

    keeps_y = True

    def __init__(self, spec: ActivationSpec, input_shape: Shape) -> None:
        self.function = ACTIVATIONS[spec.type]
        if is_picture(input_shape) and not self.function.elementwise:
            raise SpecError.at(
                "#",
                f"{spec.type} takes rows of numbers; what comes in are {described(input_shape)}; put flatten before it",
            )
        super().__init__(input_shape, input_shape)
        self.spec = spec
        self.in_place = not self.function.needs_x

    def workspace(self, n: int, dtype: DType, training: bool, dx: Array | None, y: Array) -> ElementwiseSpace:
        scratch = None if dx is None else np.empty_like(y)
        return ElementwiseSpace(y=y, training=training, dx=dx, home=dx, scratch=scratch)

    def forward(self, x: Array, space: ElementwiseSpace) -> Array:
        if self.function.needs_x:
            space.x = x
        self.function.forward(x, space.y)
        return space.y

    def backward(self, dy: Array, space: ElementwiseSpace, gradients: Arrays) -> Array | None:
        if space.dx is None or space.scratch is None:
            return None
        self.function.backward(dy, space.x, space.y, space.dx, space.scratch)
        return space.dx


@dataclass(slots=True, kw_only=True)
class DropoutSpace(Workspace):
    keep: NDArray[np.float32]
    mask: Array


class Dropout(Drawing[DropoutSpace]):
    """Sets a share of the numbers to 0 and scales the others by `1 / (1 - rate)`; in predictions it does nothing.

    N. Srivastava et al., Dropout: A Simple Way to Prevent Neural Networks from Overfitting, 2014; "inverted".
    """

    in_place = True

    def __init__(self, spec: DropoutSpec, input_shape: Shape) -> None:
        super().__init__(input_shape, input_shape)
        self.spec = spec

    def workspace(self, n: int, dtype: DType, training: bool, dx: Array | None, y: Array) -> DropoutSpace:
        drawn = y.shape if training else (0,)
        return DropoutSpace(
            y=y, training=training, dx=dx, home=dx, keep=np.empty(drawn, np.float32), mask=np.empty(drawn, dtype)
        )

    def draw(self, space: DropoutSpace, rng: np.random.Generator) -> None:
        rng.random(dtype=np.float32, out=space.keep)
        np.multiply(space.keep >= self.spec.rate, 1 / (1 - self.spec.rate), out=space.mask)

    def forward(self, x: Array, space: DropoutSpace) -> Array:
        if space.training:
            return np.multiply(x, space.mask, space.y)
        return x

    def backward(self, dy: Array, space: DropoutSpace, gradients: Arrays) -> Array | None:
        return None if space.dx is None else np.multiply(dy, space.mask, space.dx)


class Flatten(Layer[Workspace]):
    """Each picture as a row of numbers, in the order of its shape: row by row, the channels of a pixel together."""

    def __init__(self, spec: ReshapeSpec, input_shape: Shape) -> None:
        require_picture(spec.type, input_shape)
        super().__init__(input_shape, (math.prod(input_shape),))

    def workspace(self, n: int, dtype: DType, training: bool, dx: Array | None, y: Array) -> Workspace:
        return Workspace(y=y, training=training, dx=dx)

    def forward(self, x: Array, space: Workspace) -> Array:
        np.copyto(space.y.reshape(-1, *self.input_shape), x.transpose(3, 0, 2, 1))
        return space.y

    def backward(self, dy: Array, space: Workspace, gradients: Arrays) -> Array | None:
        if space.dx is not None:
            np.copyto(space.dx, dy.reshape(-1, *self.input_shape).transpose(1, 3, 2, 0))
        return space.dx
