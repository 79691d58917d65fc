"""Training a network: epochs of shuffled mini-batches, validation, early stopping."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nn import metrics, optimizers
from nn.activations import Array
from nn.errors import DivergedError
from nn.layers import Shape
from nn.losses import LOSSES, Targets
from nn.network import Network, Tape, block_size, build_layers, parameter_shapes
from nn.spec import NetworkSpec, TrainingSpec


class Encoder(Protocol):
    """Turns raw samples into what a network takes."""

    def encode(self, raw: NDArray[Any], out: Array) -> None:
        """Writes `raw`, `(n_samples, …)`, into `out`, `(n_samples, *input_shape)`."""
        ...


@dataclass(frozen=True)
class Samples:
    """Some rows of a data set: a view by row numbers, never a copy of the data.

    `inputs` and `targets` are the whole set's, raw; `rows` are the numbers of those that count.
    """

    inputs: NDArray[Any]
    targets: Targets
    rows: NDArray[np.intp]
    encoder: Encoder

    def __len__(self) -> int:
        return len(self.rows)

    def buffer(self, n_samples: int) -> NDArray[Any]:
        """Room for the raw values of so many samples, for `fetch`."""
        return np.empty((n_samples, *self.inputs.shape[1:]), self.inputs.dtype)

    def fetch(self, rows: NDArray[np.intp], raw: NDArray[Any], out: Array) -> None:
        """Writes the samples with these row numbers into `raw`, and encoded into `out`."""
        # "clip" since NumPy, where it is to raise for a row that is not there, takes a copy of its own first.
        np.take(self.inputs, rows, axis=0, out=raw, mode="clip")
        self.encoder.encode(raw, out)


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave; `epoch` counts from 1, `seconds` is its duration without the callback.

    `training` and `validation` hold the loss and the task's metrics by name. Those of the training samples are taken
    while the weights move, before each step; those of the validation samples at the epoch's end.
    """

    epoch: int
    training: dict[str, float]
    validation: dict[str, float]
    learning_rate: float
    seconds: float

    def row(self) -> dict[str, float]:
        """One flat line of a history: `loss`, `accuracy`, `validation_loss`, …"""
        return {
            "epoch": self.epoch,
            **self.training,
            **{f"validation_{name}": value for name, value in self.validation.items()},
            "learning_rate": self.learning_rate,
            "seconds": round(self.seconds, 4),
        }


@dataclass(frozen=True)
class FitResult:
    """How training went. The weights are in the network: those of `best_epoch`, or the last where nothing was watched.

    `stopped` is True where `should_stop` ended it.
    """

    epochs: list[Epoch]
    best_epoch: int
    stopped: bool


@dataclass
class _Plateau:
    """Watches the validation loss and keeps the best weights."""

    patience: int
    min_delta: float
    best_vector: Array
    best_loss: float = math.inf
    best_epoch: int = 0

    def reached(self, epoch: int, loss: float, vector: Array) -> bool:
        if loss < self.best_loss - self.min_delta:
            self.best_loss, self.best_epoch = loss, epoch
            np.copyto(self.best_vector, vector)
        return epoch - self.best_epoch >= self.patience


def steps_per_epoch(n_samples: int, training: TrainingSpec) -> int:
    return math.ceil(n_samples / training.batch_size)


def fit(
    network: Network,
    samples: Samples,
    training: TrainingSpec,
    rng: np.random.Generator,
    *,
    validation: Samples | None = None,
    on_epoch: Callable[[Epoch], object] | None = None,
    should_stop: Callable[[int], bool] | None = None,
) -> FitResult:
    """Trains `network` in place.

    `rng` gives the order of the samples. `on_epoch` is called after each epoch; `should_stop` before each batch, with
    the number of batches done. With `training.early_stopping` the best epoch's weights are put back at the end, and
    `validation` must be there. Raises `DivergedError` once a loss is not finite.
    """
    loss = LOSSES[training.loss]
    optimizer = optimizers.build(training.optimizer)
    state = optimizer.init(network.vector)
    gradients = np.zeros_like(network.vector)
    batch_size = min(training.batch_size, len(samples))
    tapes = {size: network.tape(size, gradients) for size in {batch_size, len(samples) % batch_size} - {0}}
    raw = {size: samples.buffer(size) for size in tapes}
    dlogits = {size: np.empty((size, *network.output_shape), network.dtype) for size in tapes}
    seen = np.empty((len(samples), *network.output_shape), network.dtype)
    plateau = None
    if training.early_stopping is not None:
        plateau = _Plateau(**asdict(training.early_stopping), best_vector=np.empty_like(network.vector))
    epochs: list[Epoch] = []
    step, stopped = 0, False
    # What overflows is found in the loss; NumPy's warnings would only say it twice.
    with np.errstate(all="ignore"):
        for epoch in range(1, training.epochs + 1):
            started = time.perf_counter()
            order = rng.permutation(samples.rows)
            targets = samples.targets[order]
            for start in range(0, len(order), batch_size):
                if should_stop is not None and should_stop(step):
                    stopped = True
                    break
                rows = order[start : start + batch_size]
                size = len(rows)
                tape = tapes[size]
                samples.fetch(rows, raw[size], tape.x)
                logits = tape.forward()
                # The loss itself is needed once an epoch: the logits are kept for it, a step only needs its gradient.
                seen[start : start + size] = logits
                loss.gradient(logits, targets[start : start + size], dlogits[size])
                tape.backward(dlogits[size])
                optimizer.update(network.vector, gradients, state)
                step += 1
            if stopped:
                break
            found = metrics.evaluate(training.loss, seen, targets)
            validated = {} if validation is None else evaluate(network, validation, training)
            if not all(map(math.isfinite, (*found.values(), *validated.values()))):
                raise DivergedError(epoch)
            seconds = time.perf_counter() - started
            epochs.append(Epoch(epoch, found, validated, training.optimizer.learning_rate, seconds))
            if on_epoch is not None:
                on_epoch(epochs[-1])
            if plateau is not None and plateau.reached(epoch, validated["loss"], network.vector):
                break
    if plateau is not None and plateau.best_epoch:
        network.vector[...] = plateau.best_vector
    return FitResult(epochs, plateau.best_epoch if plateau is not None else len(epochs), stopped)


def evaluate(network: Network, samples: Samples, training: TrainingSpec) -> dict[str, float]:
    """The loss and the metrics of `network` on `samples`, by name."""
    logits = np.empty((len(samples), *network.output_shape), network.dtype)
    raw = samples.buffer(min(network.block_size, len(samples)))
    x = np.empty((len(raw), *network.input_shape), network.dtype)
    # As in `fit`: what overflows shows in the numbers that are returned.
    with np.errstate(all="ignore"):
        for start in range(0, len(samples), network.block_size):
            rows = samples.rows[start : start + network.block_size]
            samples.fetch(rows, raw[: len(rows)], x[: len(rows)])
            logits[start : start + len(rows)] = network.logits(x[: len(rows)])
        return metrics.evaluate(training.loss, logits, samples.targets[samples.rows])


def training_memory(spec: NetworkSpec, input_shape: Shape, training: TrainingSpec, n_samples: int) -> int:
    """The bytes that `fit` allocates for `n_samples` training samples, reckoned without allocating any.

    Weights, their gradients, momentum, a working copy and the best weights; the buffers of a batch and of an
    evaluation; the logits of an epoch, and the float64 in which they are measured. The data set itself is not counted.
    """
    built = build_layers(spec, input_shape, LOSSES[training.loss].output)
    n_parameters = sum(math.prod(shape) for shape in parameter_shapes(built).values())
    widths = [math.prod(input_shape), *(math.prod(layer.output_shape) for layer in built)]
    batch = min(training.batch_size, n_samples)
    buffers = (3 * batch + block_size(built, input_shape)) * sum(widths)
    numbers = 5 * n_parameters + buffers + 6 * n_samples * widths[-1]
    return numbers * np.dtype(spec.dtype).itemsize


__all__ = [
    "Encoder",
    "Epoch",
    "FitResult",
    "Samples",
    "Tape",
    "evaluate",
    "fit",
    "steps_per_epoch",
    "training_memory",
]
