"""Activation functions and their derivatives, written into buffers that the caller owns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn.spec import ActivationName

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Activation:
    """One activation function.

    `forward(x, out)` writes `f(x)` into `out`; `backward(dy, y, out, scratch)` writes `dL/dx` into `out`, given
    `dy = dL/dy` and `y = f(x)`: every function here has a derivative that its own output tells, so that `x` need not be
    kept. All arrays are `(n_samples, n_features)` and of one dtype; `out` may be `x`, or `dy`, itself; what is in
    `scratch` afterwards is of no meaning.
    """

    forward: Callable[[Array, Array], object]
    backward: Callable[[Array, Array, Array, Array], object]


def relu(x: Array, out: Array) -> None:
    np.maximum(x, 0, out=out)


def relu_backward(dy: Array, y: Array, out: Array, scratch: Array) -> None:
    np.greater(y, 0, out=scratch)
    np.multiply(dy, scratch, out=out)


def tanh(x: Array, out: Array) -> None:
    np.tanh(x, out=out)


def tanh_backward(dy: Array, y: Array, out: Array, scratch: Array) -> None:
    np.multiply(y, y, out=scratch)
    np.subtract(1, scratch, out=scratch)
    np.multiply(dy, scratch, out=out)


def sigmoid(x: Array, out: Array) -> None:
    # 1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2, which overflows nowhere.
    np.multiply(x, 0.5, out=out)
    np.tanh(out, out=out)
    out += 1
    out *= 0.5


def sigmoid_backward(dy: Array, y: Array, out: Array, scratch: Array) -> None:
    np.subtract(1, y, out=scratch)
    scratch *= y
    np.multiply(dy, scratch, out=out)


def softmax(x: Array, out: Array) -> None:
    # Softmax does not change when a constant is taken from every logit of a row, so exp never sees more than 0.
    np.subtract(x, np.maximum.reduce(x, axis=1, keepdims=True), out=out)
    np.exp(out, out=out)
    out /= np.add.reduce(out, axis=1, keepdims=True)


def softmax_backward(dy: Array, y: Array, out: Array, scratch: Array) -> None:
    # The Jacobian of a row is diag(y) - y yᵀ.
    np.multiply(dy, y, out=scratch)
    along = np.add.reduce(scratch, axis=1, keepdims=True)
    np.subtract(dy, along, out=out)
    out *= y


def identity(x: Array, out: Array) -> None:
    if out is not x:
        np.copyto(out, x)


def identity_backward(dy: Array, y: Array, out: Array, scratch: Array) -> None:
    if out is not dy:
        np.copyto(out, dy)


ACTIVATIONS: dict[ActivationName, Activation] = {
    "relu": Activation(relu, relu_backward),
    "tanh": Activation(tanh, tanh_backward),
    "sigmoid": Activation(sigmoid, sigmoid_backward),
    "softmax": Activation(softmax, softmax_backward),
    "identity": Activation(identity, identity_backward),
}
