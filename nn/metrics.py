"""What is told of a network beside its loss: accuracy for classes, RMSE and R² for values."""

from __future__ import annotations

import numpy as np

from nn.activations import Array
from nn.losses import LOSSES, Objective, Targets


def accuracy(logits: Array, targets: Targets) -> float:
    """The share of samples whose class is read rightly.

    `logits` are `(n_samples, n_classes)`, or `(n_samples, 1)` where one logit above 0 means class 1; `targets` are
    `(n_samples,)` class numbers.
    """
    read = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(axis=1)
    return float(np.mean(read == targets))


def root_mean_squared_error(values: Array, targets: Targets) -> float:
    """`sqrt(mean((values - targets)²))`, over samples and outputs, in the targets' unit."""
    return float(np.sqrt(np.mean(np.square(values - targets, dtype=np.float64))))


def r_squared(values: Array, targets: Targets) -> float | None:
    """`1 - Σ(target - value)² / Σ(target - mean)²`, the sums over samples and outputs.

    None where the targets are all alike, since nothing is there to explain.
    """
    if (targets == targets[:1]).all():  # compared, not summed: the mean of equal numbers may be off by a rounding
        return None
    around_mean = float(np.sum(np.square(targets - targets.mean(axis=0), dtype=np.float64)))
    residual = float(np.sum(np.square(values - targets, dtype=np.float64)))
    return 1 - residual / around_mean if around_mean > 0 else None


def evaluate(loss: Objective, logits: Array, targets: Targets) -> dict[str, float]:
    """The loss and whichever metrics belong to it, by name; a metric that has no value is left out."""
    found: dict[str, float | None] = {"loss": loss.value(logits, targets)}
    if "regression" in LOSSES[loss.name].tasks:
        found |= {"rmse": root_mean_squared_error(logits, targets), "r2": r_squared(logits, targets)}
    else:
        found |= {"accuracy": accuracy(logits, targets)}
    return {name: value for name, value in found.items() if value is not None}
