"""Activation functions and their derivatives, written into buffers that the caller owns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn.spec import ActivationName

Array = NDArray[np.floating[Any]]

LEAK = 0.01  # the slope of leaky_relu below 0
GELU_SCALE, GELU_CUBIC = math.sqrt(2 / math.pi), 0.044715


@dataclass(frozen=True)
class Activation:
    """One activation function.

    `forward(x, out)` writes `f(x)` into `out`; `backward(dy, x, y, out, scratch)` writes `dL/dx` into `out`, given
    `dy = dL/dy` and `y = f(x)`; what is in `scratch` afterwards is of no meaning. All arrays of a call are of one shape
    and dtype. `out` of `backward` may be `dy` itself.

    Most functions have a derivative that their own output tells: of those `x` need not be kept, it may be None in
    `backward`, and `out` of `forward` may be `x`. Where `needs_x`, neither holds. `elementwise` functions take arrays
    of any shape; the others rows, `(n_samples, n_features)`, each for itself. `monotone` says that a function is
    elementwise and falls nowhere, so that it may change places with taking a maximum.
    """

    forward: Callable[[Array, Array], object]
    backward: Callable[[Array, Array | None, Array, Array, Array], object]
    needs_x: bool = False
    elementwise: bool = True
    monotone: bool = True


def relu(x: Array, out: Array) -> None:
    _with_zeros(np.maximum, x, out)


def relu_backward(dy: Array, x: Array | None, y: Array, out: Array, scratch: Array) -> None:
    # Booleans straight from the comparison: cheaper, though allocated, than having them cast into `scratch`.
    np.multiply(dy, y > 0, out)


def leaky_relu(x: Array, out: Array) -> None:
    np.maximum(x, x * LEAK, out=out)


def leaky_relu_backward(dy: Array, x: Array | None, y: Array, out: Array, scratch: Array) -> None:
    np.multiply(y > 0, 1 - LEAK, scratch, dtype=scratch.dtype)
    np.add(scratch, LEAK, scratch)
    np.multiply(dy, scratch, out)


def elu(x: Array, out: Array) -> None:
    """`x` above 0, `exp(x) - 1` below (D.-A. Clevert et al., Fast and Accurate Deep Network Learning by ELUs, 2016)."""
    # x > exp(x) - 1 nowhere below 0. Not expm1, which is ten times slower where NumPy has no AVX-512 for it.
    below = np.empty_like(x)
    _with_zeros(np.minimum, x, below)
    np.exp(below, below)
    np.subtract(below, 1, below)
    np.maximum(x, below, out=out)


def elu_backward(dy: Array, x: Array | None, y: Array, out: Array, scratch: Array) -> None:
    _with_zeros(np.minimum, y, scratch)
    np.add(scratch, 1, scratch)
    np.multiply(dy, scratch, out)


def gelu(x: Array, out: Array) -> None:
    """`x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2` (D. Hendrycks and K. Gimpel, Gaussian Error Linear Units, 2016).

    This is the approximation of `x Φ(x)` that PyTorch and ONNX call "tanh"; the two are never 0.0005 apart.
    """
    # x Φ(x) itself needs erf, which NumPy has not: a rational function in three pieces, for a difference that is
    # nothing to a network trained with the one that it predicts with.
    _gelu_tanh(x, out)
    np.add(out, 1, out)
    np.multiply(out, x, out)
    np.multiply(out, 0.5, out)


def gelu_backward(dy: Array, x: Array | None, y: Array, out: Array, scratch: Array) -> None:
    assert x is not None
    # y = x s with s = (1 + tanh u) / 2, and s' = 2 u' s (1 - s): so y' = s + x s' = s (1 + 2 u' (x - y)).
    slope = x * x
    np.multiply(slope, 6 * GELU_SCALE * GELU_CUBIC, slope)
    np.add(slope, 2 * GELU_SCALE, slope)
    np.subtract(x, y, scratch)
    np.multiply(slope, scratch, slope)
    np.add(slope, 1, slope)
    _gelu_tanh(x, scratch)
    np.add(scratch, 1, scratch)
    np.multiply(scratch, 0.5, scratch)
    np.multiply(slope, scratch, slope)
    np.multiply(dy, slope, out)


def _gelu_tanh(x: Array, out: Array) -> None:
    np.multiply(x, x, out)
    np.multiply(out, GELU_SCALE * GELU_CUBIC, out)
    np.add(out, GELU_SCALE, out)
    np.multiply(out, x, out)
    np.tanh(out, out)


def softplus(x: Array, out: Array) -> None:
    # log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), where exp sees nothing above 0. logaddexp takes twenty times as
    # long, and log1p ten times where NumPy has no AVX-512 for it.
    rest = np.abs(x)
    np.negative(rest, rest)
    np.exp(rest, rest)
    np.add(rest, 1, rest)
    np.log(rest, rest)
    _with_zeros(np.maximum, x, out)
    np.add(out, rest, out)


def softplus_backward(dy: Array, x: Array | None, y: Array, out: Array, scratch: Array) -> None:
    # The derivative is sigmoid(x) = 1 - exp(-y).
    np.negative(y, scratch)
    np.exp(scratch, scratch)
    np.subtract(1, scratch, scratch)
    np.multiply(dy, scratch, out)


def tanh(x: Array, out: Array) -> None:
    np.tanh(x, out)


def tanh_backward(dy: Array, x: Array | None, y: Array, out: Array, scratch: Array) -> None:
    np.multiply(y, y, scratch)
    np.subtract(1, scratch, scratch)
    np.multiply(dy, scratch, out)


def sigmoid(x: Array, out: Array) -> None:
    # 1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2, which overflows nowhere.
    np.multiply(x, 0.5, out)
    np.tanh(out, out)
    np.add(out, 1, out)
    np.multiply(out, 0.5, out)


def sigmoid_backward(dy: Array, x: Array | None, y: Array, out: Array, scratch: Array) -> None:
    np.subtract(1, y, scratch)
    np.multiply(scratch, y, scratch)
    np.multiply(dy, scratch, out)


def softmax(x: Array, out: Array) -> None:
    # Softmax does not change when a constant is taken from every logit of a row, so exp never sees more than 0.
    np.subtract(x, row_maxima(x), out)
    np.exp(out, out)
    np.divide(out, np.add.reduce(out, axis=1, keepdims=True), out)


def softmax_backward(dy: Array, x: Array | None, y: Array, out: Array, scratch: Array) -> None:
    # The Jacobian of a row is diag(y) - y yᵀ.
    np.multiply(dy, y, scratch)
    along = np.add.reduce(scratch, axis=1, keepdims=True)
    np.subtract(dy, along, out)
    np.multiply(out, y, out)


def row_maxima(x: Array) -> Array:
    """The largest number of each row of `x`, `(n_samples, n_features)`, as `(n_samples, 1)`."""
    # On short rows argmax is several times faster than max.
    return x[np.arange(len(x)), x.argmax(axis=1), np.newaxis]


def identity(x: Array, out: Array) -> None:
    if out is not x:
        np.copyto(out, x)


def identity_backward(dy: Array, x: Array | None, y: Array, out: Array, scratch: Array) -> None:
    if out is not dy:
        np.copyto(out, dy)


CHUNK = 16_384  # numbers that are compared at once, of arrays that are larger
_ZEROS: dict[np.dtype[Any], Array] = {np.dtype(kind): np.zeros(CHUNK, kind) for kind in (np.float32, np.float64)}


def _with_zeros(extreme: np.ufunc, x: Array, out: Array) -> None:
    """Writes the `np.maximum`, or the `np.minimum`, of each number and 0 into `out`."""
    # That of two arrays takes a quarter of the time of that of an array and a number, for which NumPy has no vector
    # instructions.
    zeros = _ZEROS[x.dtype]
    if x.size <= CHUNK:
        extreme(x, zeros[: x.size].reshape(x.shape), out=out)
    elif x.flags.c_contiguous and out.flags.c_contiguous:
        numbers, answers = x.reshape(-1), out.reshape(-1)
        for start in range(0, x.size, CHUNK):
            part = numbers[start : start + CHUNK]
            extreme(part, zeros[: part.size], out=answers[start : start + CHUNK])
    else:
        extreme(x, 0, out=out)


ACTIVATIONS: dict[ActivationName, Activation] = {
    "relu": Activation(relu, relu_backward),
    "leaky_relu": Activation(leaky_relu, leaky_relu_backward),
    "elu": Activation(elu, elu_backward),
    "gelu": Activation(gelu, gelu_backward, needs_x=True, monotone=False),
    "softplus": Activation(softplus, softplus_backward),
    "tanh": Activation(tanh, tanh_backward),
    "sigmoid": Activation(sigmoid, sigmoid_backward),
    "softmax": Activation(softmax, softmax_backward, elementwise=False, monotone=False),
    "identity": Activation(identity, identity_backward),
}
