"""Losses as means over the samples, with their gradients by the logits.

A loss brings its output function: cross-entropies are computed from the logits (what goes *into* softmax or sigmoid),
where no probability is ever rounded to 0 or 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn.activations import Array, sigmoid, softmax
from nn.spec import ActivationName, LossName, TaskName

Targets = NDArray[Any]


@dataclass(frozen=True)
class Loss:
    """One loss over `logits` of shape `(n_samples, n_outputs)`.

    `value(logits, targets)` is the mean over the samples; `gradient(logits, targets, out)` writes its derivative by
    `logits` into `out`, of the same shape. `output` names the function that turns logits into the answer. `tasks` are
    the tasks it serves; `one_output` says that a single logit tells two classes apart.
    """

    output: ActivationName
    tasks: frozenset[TaskName]
    value: Callable[[Array, Targets], float]
    gradient: Callable[[Array, Targets, Array], object]
    one_output: bool = False


def mean_squared_error(logits: Array, targets: Targets) -> float:
    """The mean over samples and outputs of `(logits - targets)²`; `targets` has the shape of `logits`."""
    difference = logits - targets
    return float(np.mean(np.multiply(difference, difference, out=difference), dtype=np.float64))


def mean_squared_error_gradient(logits: Array, targets: Targets, out: Array) -> None:
    np.subtract(logits, targets, out=out)
    out *= 2 / out.size


def cross_entropy(logits: Array, targets: Targets) -> float:
    """The mean of `log Σ exp(logits) - logits[target]`; `targets` are `(n_samples,)` class numbers."""
    shifted = logits - np.maximum.reduce(logits, axis=1, keepdims=True)
    chosen = shifted[np.arange(len(targets)), targets]
    return float(np.mean(np.log(np.exp(shifted, out=shifted).sum(axis=1)) - chosen, dtype=np.float64))


def cross_entropy_gradient(logits: Array, targets: Targets, out: Array) -> None:
    # d/dlogits = (softmax - one-hot target) / n_samples; the one-hot vector is never built.
    softmax(logits, out)
    out[np.arange(len(targets)), targets] -= 1
    out *= 1 / len(targets)


def binary_cross_entropy(logits: Array, targets: Targets) -> float:
    """The mean of `log(1 + exp(logit)) - target · logit`; logits `(n_samples, 1)`, targets `(n_samples,)` 0 or 1."""
    z = logits[:, 0]
    return float(np.mean(np.logaddexp(0, z) - targets * z, dtype=np.float64))


def binary_cross_entropy_gradient(logits: Array, targets: Targets, out: Array) -> None:
    # d/dlogit = (sigmoid - target) / n_samples.
    sigmoid(logits, out)
    out[:, 0] -= targets
    out *= 1 / len(targets)


LOSSES: dict[LossName, Loss] = {
    "mean_squared_error": Loss("identity", frozenset({"regression"}), mean_squared_error, mean_squared_error_gradient),
    "cross_entropy": Loss(
        "softmax",
        frozenset({"classification", "binary_classification"}),
        cross_entropy,
        cross_entropy_gradient,
    ),
    "binary_cross_entropy": Loss(
        "sigmoid",
        frozenset({"binary_classification"}),
        binary_cross_entropy,
        binary_cross_entropy_gradient,
        one_output=True,
    ),
}
