"""Training a network: epochs of shuffled mini-batches, validation, early stopping, and taking all that up again."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nn import losses, memory, metrics, optimizers, schedules
from nn.activations import Array
from nn.augmentation import Augmentation
from nn.crew import Crew
from nn.errors import DivergedError, InputError, ShapeError, SpecError
from nn.features import PixelFeatures
from nn.layers import PICTURES, Layer, Shape, is_picture
from nn.losses import LOSSES, Targets
from nn.network import Network, block_size, build_layers, input_shape, parameter_shapes, takes_pictures
from nn.normalization import BatchNorm
from nn.optimizers import State
from nn.spec import EarlyStoppingSpec, NetworkSpec, TrainingSpec
from nn.tape import Tape


class Encoder(Protocol):
    """Turns raw samples into what a network takes."""

    def encode(self, raw: NDArray[Any], out: Array) -> None:
        """Writes `raw`, `(n_samples, …)`, into `out`, `(n_samples, n_inputs)`."""
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

    def fetch(self, rows: NDArray[np.intp], out: Array) -> None:
        """Writes the samples with these row numbers, encoded, into `out`, `(n_samples, *input_shape)`."""
        self.encoder.encode(self.inputs.take(rows, 0), out.reshape(len(rows), -1))


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


@dataclass
class FitState:
    """All that training remembers from one epoch to the next, beside the network and the generator.

    With these three a run can be taken up again as if it had never been interrupted. The best weights are kept where
    early stopping watches over the run, and are else empty.
    """

    optimizer: State
    schedule: State
    best_vector: Array
    best_statistics: Array
    best_loss: float = math.inf
    best_epoch: int = 0
    epochs: list[Epoch] = field(default_factory=list)

    def watch(self, loss: float, network: Network, stopping: EarlyStoppingSpec) -> None:
        """Keeps the weights of the last epoch if it was the best so far."""
        if loss < self.best_loss - stopping.min_delta:
            self.best_loss, self.best_epoch = loss, len(self.epochs)
            np.copyto(self.best_vector, network.vector)
            np.copyto(self.best_statistics, network.statistics)


@dataclass(frozen=True)
class FitResult:
    """How training went. The weights are in the network: those of `best_epoch`, or the last where nothing was watched.

    `stopped` is True where `should_stop` ended it.
    """

    epochs: list[Epoch]
    best_epoch: int
    stopped: bool


FETCH = 256  # samples that are taken out of the data set at once, where batches are smaller
FETCH_BLOCK = 32  # pictures that a thread distorts at once


class _Feed:
    """Takes samples out of the data set, distorts them if asked to, and encodes them, in buffers of its own."""

    def __init__(self, network: Network, samples: Samples, training: TrainingSpec, crew: Crew, n_samples: int) -> None:
        self._samples, self._crew = samples, crew
        self._augmentation: Augmentation | None = None
        if training.augmentation is not None:
            if not isinstance(samples.encoder, PixelFeatures):
                raise SpecError.at("#/training/augmentation", "augmentation distorts pictures, and these are none")
            if samples.inputs.dtype != np.uint8:
                raise SpecError.at(
                    "#/training/augmentation", f"augmentation takes pictures as uint8; got {samples.inputs.dtype}"
                )
            self._augmentation = Augmentation(training.augmentation, samples.encoder.height, samples.encoder.width)
        self._step = FETCH_BLOCK if self._augmentation is not None or takes_pictures(network.spec) else n_samples
        self._raw = np.empty((n_samples, *samples.inputs.shape[1:]), samples.inputs.dtype)
        self._x = memory.empty((n_samples, *network.input_shape), network.dtype)
        self._flat = self._x.reshape(n_samples, -1)

    def draw(self, rows: NDArray[np.intp], rng: np.random.Generator) -> Array:
        """The samples with these row numbers, `(n_samples, *input_shape)`; the next call overwrites them."""
        augmentation = self._augmentation
        distortions = None if augmentation is None else augmentation.draw(len(rows), rng)

        def take(block: int) -> None:
            part = slice(block * self._step, min((block + 1) * self._step, len(rows)))
            raw = self._raw[part]
            # "clip" since NumPy, where it is to raise for a row that is not there, takes a copy of its own first.
            self._samples.inputs.take(rows[part], 0, raw, "clip")
            if augmentation is not None and distortions is not None:
                augmentation.apply(raw, distortions[part], raw)
            self._samples.encoder.encode(raw, self._flat[part])

        self._crew.each(take, -(-len(rows) // self._step))
        return self._x[: len(rows)]


def check_batch_size(layers: Iterable[Layer[Any]], batch_size: int) -> None:
    """Raises `SpecError` where batches of one row would be normalised, each to 0."""
    if batch_size == 1 and any(isinstance(layer, BatchNorm) and not is_picture(layer.input_shape) for layer in layers):
        raise SpecError.at(
            "#/training/batch_size",
            "batch_norm of rows needs at least 2 samples a batch; got 1; take a larger batch, or leave batch_norm out",
        )


def _check(network: Network, samples: Samples, training: TrainingSpec, validation: Samples | None) -> None:
    """Raises `SpecError`, `ShapeError` or `InputError` where network, samples and training do not go together."""
    loss = LOSSES[training.loss]
    check_batch_size(network.layers.values(), training.batch_size)
    if network.output != loss.output:
        raise SpecError.at("#/training/loss", f"{training.loss} needs the output {loss.output}; got {network.output}")
    if training.early_stopping is not None and validation is None:
        raise SpecError.at("#/training/early_stopping", "early stopping watches validation samples; give some")
    for part in (samples,) if validation is None else (samples, validation):
        if (
            not len(part)
            or part.rows.min() < 0
            or part.rows.max() >= len(part.inputs)
            or len(part.inputs) != len(part.targets)
        ):
            raise InputError.at("#", f"expected rows, at least one, of {len(part.inputs)} inputs with a target each")
        targets = part.targets
        if "regression" in loss.tasks:
            if targets.shape[1:] != network.output_shape:
                raise ShapeError.at("#", f"expected targets of shape {network.output_shape}; got {targets.shape[1:]}")
            continue
        n_classes = 2 if loss.one_output else network.output_shape[0]
        if targets.dtype.kind not in "iu" or targets.ndim != 1 or not 0 <= targets.min() <= targets.max() < n_classes:
            raise InputError.at("#", f"expected a class number, from 0 to {n_classes - 1}, for each row")


def steps_per_epoch(n_samples: int, training: TrainingSpec) -> int:
    return math.ceil(n_samples / training.batch_size)


def begin(network: Network, samples: Samples, training: TrainingSpec) -> FitState:
    """The state of a training that has not begun yet."""
    watched = training.early_stopping is not None
    return FitState(
        optimizer=optimizers.build(training.optimizer, network.n_weights).init(network.vector),
        schedule=_schedule(samples, training).init(),
        best_vector=network.vector.copy() if watched else network.vector[:0],
        best_statistics=network.statistics.copy() if watched else network.statistics[:0],
    )


def _schedule(samples: Samples, training: TrainingSpec) -> schedules.Schedule:
    return schedules.build(training.schedule, steps_per_epoch(len(samples), training), training.epochs)


def fit(
    network: Network,
    samples: Samples,
    training: TrainingSpec,
    rng: np.random.Generator,
    *,
    validation: Samples | None = None,
    threads: int = 1,
    state: FitState | None = None,
    on_epoch: Callable[[Epoch], object] | None = None,
    on_state: Callable[[FitState], object] | None = None,
    should_stop: Callable[[int], bool] | None = None,
) -> FitResult:
    """Trains `network` in place.

    `rng` gives the order of the samples, what dropout leaves out and how pictures are distorted. `on_epoch` is called
    after each epoch, and `on_state` then, with what can be given as `state` to go on from there; `should_stop` every
    few batches, with the number of batches done. `threads` share the pictures of a batch where the network has layers
    for pictures (BLAS is best given one thread then); whatever their number, the result is the same bit for bit. With
    `training.early_stopping` the best epoch's weights are put back at the end, and `validation` must be there. Raises
    `DivergedError` once a loss is not finite, and before that `SpecError` or `InputError` for what does not fit.
    What `on_state` is given belongs together with the network and the generator as they are at that moment.
    """
    _check(network, samples, training, validation)
    state = begin(network, samples, training) if state is None else state
    # What overflows is found in the loss; NumPy's warnings would only say it twice.
    with Crew(threads if takes_pictures(network.spec) else 1) as crew, np.errstate(all="ignore"):
        run = _Run(network, samples, training, rng, crew, state)
        stopped = False
        while not stopped and not _is_over(state, training):
            started = time.perf_counter()
            found = run.epoch(should_stop)
            stopped = found is None
            if found is None:
                break
            validated = {} if validation is None else evaluate(network, validation, training, crew)
            if not all(map(math.isfinite, (*found.values(), *validated.values()))):
                raise DivergedError(len(state.epochs) + 1)
            seconds = time.perf_counter() - started
            state.epochs.append(Epoch(len(state.epochs) + 1, found, validated, run.learning_rate, seconds))
            run.schedule.epoch_ended(validated.get("loss", found["loss"]), state.schedule)
            if training.early_stopping is not None:
                state.watch(validated["loss"], network, training.early_stopping)
            if on_epoch is not None:
                on_epoch(state.epochs[-1])
            if on_state is not None:
                on_state(state)
    if training.early_stopping is not None and state.best_epoch:
        network.vector[...] = state.best_vector
        network.statistics[...] = state.best_statistics
    return FitResult(state.epochs, state.best_epoch or len(state.epochs), stopped)


def _is_over(state: FitState, training: TrainingSpec) -> bool:
    done, stopping = len(state.epochs), training.early_stopping
    return done >= training.epochs or (stopping is not None and done - state.best_epoch >= stopping.patience)


class _Run:
    """What the epochs of one training share: the buffers, and the parts that its description names."""

    def __init__(
        self,
        network: Network,
        samples: Samples,
        training: TrainingSpec,
        rng: np.random.Generator,
        crew: Crew,
        state: FitState,
    ) -> None:
        self.network, self.samples, self.training, self.rng, self.state = network, samples, training, rng, state
        self.loss = losses.build(training)
        self.optimizer = optimizers.build(training.optimizer, network.n_weights)
        self.schedule = _schedule(samples, training)
        self.learning_rate = training.optimizer.learning_rate
        n_samples, dtype = len(samples), network.dtype
        self.batch_size = min(training.batch_size, n_samples)
        self.fetched = min(n_samples, self.batch_size * max(1, FETCH // self.batch_size))
        self.feed = _Feed(network, samples, training, crew, self.fetched)
        self.gradients = memory.zeros(network.vector.shape, dtype)
        sizes = {self.batch_size, n_samples % self.batch_size} - {0}
        self.tapes = {size: Tape(network, size, self.gradients, crew) for size in sizes}
        self.dlogits = {size: memory.empty((size, *network.output_shape), dtype) for size in sizes}
        self.seen: Array = np.empty((n_samples, *network.output_shape), dtype)

    def epoch(self, should_stop: Callable[[int], bool] | None) -> dict[str, float] | None:
        """One pass over the samples: the loss and the metrics by name, or None where it was stopped."""
        network, state, rng = self.network, self.state, self.rng
        first_rate, clip = self.training.optimizer.learning_rate, self.training.clip_norm
        linear = self.optimizer.linear and clip is None
        step = len(state.epochs) * steps_per_epoch(len(self.samples), self.training)
        order = rng.permutation(self.samples.rows)
        targets = self.samples.targets[order]
        for start in range(0, len(order), self.fetched):
            if should_stop is not None and should_stop(step):
                return None
            x = self.feed.draw(order[start : start + self.fetched], rng)
            for at in range(0, len(x), self.batch_size):
                batch = x[at : at + self.batch_size]
                size, here = len(batch), start + at
                tape, dlogits = self.tapes[size], self.dlogits[size]
                tape.draw(rng)
                logits = tape.forward(batch)
                # The loss itself is needed once an epoch: the logits are kept for it, a step only needs its gradient.
                self.seen[here : here + size] = logits
                self.loss.gradient(logits, targets[here : here + size], dlogits)
                self.learning_rate = rate = first_rate * self.schedule.multiplier(step, state.schedule)
                if linear:
                    np.multiply(dlogits, rate, dlogits)
                    rate = 1.0
                tape.backward(dlogits)
                if clip is not None:
                    optimizers.clip_norm(self.gradients, clip)
                self.optimizer.update(network.vector, self.gradients, state.optimizer, rate)
                step += 1
        return metrics.evaluate(self.loss, self.seen, targets)


def evaluate(network: Network, samples: Samples, training: TrainingSpec, crew: Crew | None = None) -> dict[str, float]:
    """The loss and the metrics of `network` on `samples`, by name."""
    logits = np.empty((len(samples), *network.output_shape), network.dtype)
    size = min(network.block_size, len(samples))

    def measure(block: int) -> None:
        rows = samples.rows[block * size : (block + 1) * size]
        x: Array = np.empty((len(rows), *network.input_shape), network.dtype)
        samples.fetch(rows, x)
        logits[block * size : block * size + len(rows)] = network.logits(x)

    # As in `fit`: what overflows shows in the numbers that are returned.
    with np.errstate(all="ignore"):
        (crew or Crew()).each(measure, -(-len(samples) // size))
        return metrics.evaluate(losses.build(training), logits, samples.targets[samples.rows])


def training_memory(spec: NetworkSpec, sample_shape: Shape, training: TrainingSpec, n_samples: int) -> int:
    """The bytes that `fit` allocates for `n_samples` training samples, reckoned without allocating any.

    Weights, their gradients, what an optimizer keeps, a working copy and the best weights; the buffers of a batch and
    of an evaluation; the logits of an epoch, and the float64 in which they are measured. The data set itself is not
    counted.
    """
    built = build_layers(spec, sample_shape, LOSSES[training.loss].output)
    n_parameters = sum(map(math.prod, parameter_shapes(built).values()))
    n_inputs = math.prod(sample_shape)
    evaluated = sum(
        layer.training_numbers if is_picture(layer.input_shape) else math.prod(layer.output_shape)
        for layer in built.values()
    )
    batch = min(training.batch_size, n_samples)
    buffers = (
        sum(
            size * layer.training_numbers + -(-size // PICTURES) * layer.block_numbers
            for size in (batch, n_samples % batch)
            for layer in built.values()
        )
        + 2 * max(batch, FETCH) * n_inputs
        + block_size(built, input_shape(spec, sample_shape)) * (n_inputs + evaluated)
    )
    n_outputs = math.prod([*built.values()][-1].output_shape) if built else n_inputs
    numbers = 6 * n_parameters + buffers + 6 * n_samples * n_outputs
    return numbers * np.dtype(spec.dtype).itemsize


__all__ = [
    "Encoder",
    "Epoch",
    "FitResult",
    "FitState",
    "Samples",
    "begin",
    "evaluate",
    "fit",
    "steps_per_epoch",
    "training_memory",
]
