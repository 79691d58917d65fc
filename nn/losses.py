"""Losses as means over the samples, with their gradients by the logits.

A loss brings its output function: cross-entropies are computed from the logits (what goes *into* softmax or sigmoid),
where no probability is ever rounded to 0 or 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn.activations import Array, row_maxima
from nn.spec import ActivationName, LossName, TaskName, TrainingSpec

Targets = NDArray[Any]
DType = np.dtype[np.floating[Any]]


@dataclass(frozen=True)
class Loss:
    """What a loss is known for by its name.

    `output` names the function that turns logits into the answer. `tasks` are the tasks it serves; `one_output` says
    that a single logit tells two classes apart. `objective` is what computes it for a training.
    """

    output: ActivationName
    tasks: frozenset[TaskName]
    objective: type[Objective]
    one_output: bool = False


class Objective(ABC):
    """The loss of one training, over `logits` of shape `(n_samples, n_outputs)`.

    `targets` are `(n_samples,)` class numbers from 0, or for a regression values in the shape of the logits. Label
    smoothing and class weights are those of the training, and are of no meaning to a regression.

    An objective may keep buffers for the shapes of logits whose gradient it was asked for, so that it belongs to one
    training, and to one thread, at a time.
    """

    def __init__(self, training: TrainingSpec) -> None:
        self.name = training.loss

    @abstractmethod
    def value(self, logits: Array, targets: Targets) -> float:
        """The mean over the samples."""

    @abstractmethod
    def gradient(self, logits: Array, targets: Targets, out: Array) -> None:
        """Writes the derivative of the value by `logits` into `out`, of the same shape and dtype."""


class MeanSquaredError(Objective):
    """The mean over samples and outputs of `(logit - target)²`."""

    def value(self, logits: Array, targets: Targets) -> float:
        difference = logits - targets
        return float(np.mean(np.multiply(difference, difference, difference), dtype=np.float64))

    def gradient(self, logits: Array, targets: Targets, out: Array) -> None:
        np.subtract(logits, targets, out)
        np.multiply(out, 2 / out.size, out)


class MeanAbsoluteError(Objective):
    """The mean over samples and outputs of `|logit - target|`; the derivative where the two are equal is 0."""

    def value(self, logits: Array, targets: Targets) -> float:
        difference = logits - targets
        return float(np.mean(np.abs(difference, difference), dtype=np.float64))

    def gradient(self, logits: Array, targets: Targets, out: Array) -> None:
        np.subtract(logits, targets, out)
        np.sign(out, out)
        np.multiply(out, 1 / out.size, out)


class Huber(Objective):
    """The mean over samples and outputs of `d²/2` where `d = |logit - target|` is up to 1, and of `d - 1/2` beyond.

    P. J. Huber, Robust Estimation of a Location Parameter, 1964, with δ = 1.
    """

    def value(self, logits: Array, targets: Targets) -> float:
        distance = logits - targets
        np.abs(distance, distance)
        # With c = min(d, 1) both pieces are c (d - c/2).
        near = np.minimum(distance, 1)
        distance -= near / 2
        return float(np.mean(np.multiply(distance, near, distance), dtype=np.float64))

    def gradient(self, logits: Array, targets: Targets, out: Array) -> None:
        np.subtract(logits, targets, out)
        np.maximum(out, -1, out=out)
        np.minimum(out, 1, out=out)
        np.multiply(out, 1 / out.size, out)


class Classification(Objective):
    """What the cross-entropies share.

    With label smoothing ε the target of K classes is `(1 - ε) · one-hot + ε/K` (C. Szegedy et al., Rethinking the
    Inception Architecture for Computer Vision, 2016). With class weights the loss is the mean over the samples of
    `weight[target] · loss`, which is not divided by the sum of those weights.
    """

    def __init__(self, training: TrainingSpec) -> None:
        super().__init__(training)
        self._smoothing = training.label_smoothing
        self._weights = None if training.class_weights is None else np.array(training.class_weights)

    def _mean(self, costs: Array, targets: Targets) -> float:
        return float(np.mean(costs if self._weights is None else costs * self._weights[targets], dtype=np.float64))


class _Weigher:
    """Multiplies the rows of a batch's gradient by the weights of their classes."""

    def __init__(self, weights: Array, n_samples: int, dtype: DType) -> None:
        self._of_classes = weights.astype(dtype)[:, np.newaxis]
        self._of_samples: Array = np.empty((n_samples, 1), dtype)

    def weigh(self, out: Array, targets: Targets) -> None:
        self._of_classes.take(targets, 0, self._of_samples, "clip")
        np.multiply(out, self._of_samples, out)


# The gradients below are taken at every step, of batches so small that each call costs more than its arithmetic. Hence
# the buffers, the constants as arrays without axes (half the time of a Python number), the methods of arrays where a
# function would do, and "clip": NumPy, where it is to raise for an index out of range, makes a copy first.


class _CrossEntropySpace:
    """Constants and buffers for the gradient of logits of one shape and dtype."""

    def __init__(self, shape: tuple[int, int], dtype: DType, smoothing: float, weights: Array | None) -> None:
        n_samples, n_classes = shape
        self.row_starts = np.arange(0, n_samples * n_classes, n_classes)
        self.places = np.empty(n_samples, np.intp)  # of one logit in each row, counted through the whole array
        self.column = self.places[:, np.newaxis]
        self.at_places: Array = np.empty((n_samples, 1), dtype)
        self.sums: Array = np.empty((n_samples, 1), dtype)
        self.summing: Array = np.full((n_classes, 1), n_samples, dtype)
        self.to_target: Array = np.array((1 - smoothing) / n_samples, dtype)
        self.to_each: Array | None = np.array(smoothing / n_classes / n_samples, dtype) if smoothing else None
        self.weigher = None if weights is None else _Weigher(weights, n_samples, dtype)


class CrossEntropy(Classification):
    """The mean of `log Σ exp(logits) - logits[target]`, with smoothing of `log Σ exp(logits) - Σ target · logits`."""

    def __init__(self, training: TrainingSpec) -> None:
        super().__init__(training)
        self._spaces: dict[Any, _CrossEntropySpace] = {}

    def value(self, logits: Array, targets: Targets) -> float:
        shifted = logits - row_maxima(logits)
        aimed_at = shifted[np.arange(len(targets)), targets]
        if self._smoothing:
            aimed_at = (1 - self._smoothing) * aimed_at + self._smoothing * shifted.mean(axis=1)
        return self._mean(np.log(np.exp(shifted, shifted).sum(axis=1)) - aimed_at, targets)

    def gradient(self, logits: Array, targets: Targets, out: Array) -> None:
        # d/dlogits = (softmax - target) / n_samples. No target is built, one-hot or smoothed: 1 - ε is taken off in one
        # place of each row and ε/K, if there is any, in all.
        key = logits.shape, logits.dtype
        space = self._spaces.get(key)
        if space is None:
            space = self._spaces[key] = _CrossEntropySpace(*key, self._smoothing, self._weights)
        places, column, at_places = space.places, space.column, space.at_places
        logits.argmax(1, places)  # on short rows several times faster than max
        np.add(places, space.row_starts, places)
        logits.take(column, None, at_places, "clip")
        np.subtract(logits, at_places, out)
        np.exp(out, out)
        out.dot(space.summing, space.sums)  # n_samples times the sum of each row
        np.divide(out, space.sums, out)
        np.add(targets, space.row_starts, places)
        out.take(column, None, at_places, "clip")
        np.subtract(at_places, space.to_target, at_places)
        out.put(column, at_places, "clip")
        if space.to_each is not None:
            np.subtract(out, space.to_each, out)
        if space.weigher is not None:
            space.weigher.weigh(out, targets)


class _BinarySpace:
    """Constants and buffers for the gradient of so many logits of one dtype."""

    def __init__(self, n_samples: int, dtype: DType, smoothing: float, weights: Array | None) -> None:
        self.half: Array = np.array(0.5, dtype)
        self.aims: Array = np.array([[smoothing - 1], [1 - smoothing]], dtype)
        self.aimed_at: Array = np.empty((n_samples, 1), dtype)
        self.scale: Array = np.array(0.5 / n_samples, dtype)
        self.weigher = None if weights is None else _Weigher(weights, n_samples, dtype)


class BinaryCrossEntropy(Classification):
    """The mean of `log(1 + exp(logit)) - target · logit`, over logits `(n_samples, 1)` and targets 0 or 1."""

    def __init__(self, training: TrainingSpec) -> None:
        super().__init__(training)
        self._spaces: dict[Any, _BinarySpace] = {}

    def value(self, logits: Array, targets: Targets) -> float:
        z = logits[:, 0]
        smoothed = targets * (1 - self._smoothing) + self._smoothing / 2
        return self._mean(np.logaddexp(0, z) - smoothed * z, targets)

    def gradient(self, logits: Array, targets: Targets, out: Array) -> None:
        # d/dlogit = (sigmoid(z) - target) / n_samples = (tanh(z/2) - (2 target - 1)) / (2 n_samples).
        key = logits.shape, logits.dtype
        space = self._spaces.get(key)
        if space is None:
            space = self._spaces[key] = _BinarySpace(len(logits), logits.dtype, self._smoothing, self._weights)
        np.multiply(logits, space.half, out)
        np.tanh(out, out)
        space.aims.take(targets, 0, space.aimed_at, "clip")
        np.subtract(out, space.aimed_at, out)
        np.multiply(out, space.scale, out)
        if space.weigher is not None:
            space.weigher.weigh(out, targets)


LOSSES: dict[LossName, Loss] = {
    "mean_squared_error": Loss("identity", frozenset({"regression"}), MeanSquaredError),
    "mean_absolute_error": Loss("identity", frozenset({"regression"}), MeanAbsoluteError),
    "huber": Loss("identity", frozenset({"regression"}), Huber),
    "cross_entropy": Loss("softmax", frozenset({"classification", "binary_classification"}), CrossEntropy),
    "binary_cross_entropy": Loss("sigmoid", frozenset({"binary_classification"}), BinaryCrossEntropy, one_output=True),
}


def build(training: TrainingSpec) -> Objective:
    """The loss that a training asks for, its label smoothing and class weights included."""
    return LOSSES[training.loss].objective(training)
