"""One training run from its description to a model: complete the description, split the data, fit, test."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn import artifact, checkpoint, datasets
from nn.crew import Crew
from nn.datasets import Dataset, Table
from nn.errors import DivergedError, NNError, Problem, SpecError
from nn.features import Features, NumberFeatures, PixelFeatures, TableFeatures
from nn.fitting import (
    Epoch,
    FitResult,
    FitState,
    Samples,
    begin,
    check_batch_size,
    evaluate,
    fit,
    training_memory,
)
from nn.layers import Elementwise
from nn.losses import LOSSES
from nn.model import Metadata, Model, RunSpec
from nn.network import Network, build_layers, parameter_shapes, takes_pictures
from nn.schema import JSON, parse, to_json
from nn.spec import NetworkSpec, TrainingSpec
from nn.version import __version__

Rows = NDArray[np.intp]
DEFAULT_MEMORY_LIMIT = 2**30


def complete(
    dataset: str, network: JSON = None, training: JSON = None, memory_limit: int = DEFAULT_MEMORY_LIMIT
) -> RunSpec:
    """The whole description of a run from what was asked for, the data set's own defaults filled in.

    `network` replaces the data set's network; the fields of `training` replace the data set's fields one by one, and so
    do those of an optimizer that names no `type`: with a type it is described anew.

    Raises `SpecError`, with pointers from `#/dataset`, `#/network` and `#/training`, where a name or a number is not
    known or out of range, where the network does not fit the task, and where the run would need more than
    `memory_limit` bytes.
    """
    described = datasets.get(dataset)
    problems: list[Problem] = []
    try:
        chosen = described.network if network is None else parse(NetworkSpec, network, "#/network")
    except SpecError as error:
        problems += error.problems
    try:
        method = described.training if training is None else _complete_training(described, training)
    except SpecError as error:
        problems += error.problems
    if problems:
        raise SpecError(problems)
    run = RunSpec(dataset=described.name, network=chosen, training=method)
    _check_early_stopping(method)
    _check_split(described, method)
    _check_targets(described, method)
    _check_augmentation(described, method)
    _check_network(described, run)
    needed = training_memory(chosen, described.features.shape, method, split_sizes(described, method)[0])
    if needed > memory_limit:
        raise SpecError.at(
            "#/network",
            f"training this network needs about {needed / 2**20:,.0f} MiB, and the limit is "
            f"{memory_limit / 2**20:,.0f} MiB; take fewer units or a smaller batch",
        )
    return run


def _complete_training(dataset: Dataset, given: JSON) -> TrainingSpec:
    if not isinstance(given, Mapping):
        return parse(TrainingSpec, given, "#/training")
    merged = {**to_json(dataset.training), **given}
    optimizer = given.get("optimizer")
    if isinstance(optimizer, Mapping) and "type" not in optimizer:
        merged["optimizer"] = {**to_json(dataset.training.optimizer), **optimizer}
    if "early_stopping" not in given and merged["validation_fraction"] == 0:
        merged["early_stopping"] = None  # it was never asked for, and has nothing left to watch
    return parse(TrainingSpec, merged, "#/training")


def _check_early_stopping(training: TrainingSpec) -> None:
    if training.early_stopping is not None and training.validation_fraction == 0:
        raise SpecError.at(
            "#/training/early_stopping",
            "early stopping watches the validation loss, and validation_fraction is 0; "
            "set a validation_fraction, or early_stopping to null",
        )


def _check_split(dataset: Dataset, training: TrainingSpec) -> None:
    _, n_validation, _ = split_sizes(dataset, training)
    if training.validation_fraction > 0 and not n_validation:
        raise SpecError.at(
            "#/training/validation_fraction",
            f"{training.validation_fraction} of the data set is less than one sample; take more, or 0",
        )


def _check_network(dataset: Dataset, run: RunSpec) -> None:
    """The network must end in as many logits as the task has answers."""
    task, loss_name = dataset.task, run.training.loss
    loss = LOSSES[loss_name]
    if task.name not in loss.tasks:
        fitting = ", ".join(name for name, other in LOSSES.items() if task.name in other.tasks)
        raise SpecError.at(
            "#/training/loss",
            f"{loss_name} does not fit the task of {dataset.name}, a {task.name}; expected one of {fitting}",
        )
    built = build_layers(run.network, dataset.features.shape, loss.output)
    check_batch_size(built.values(), run.training.batch_size)
    last = [*built.values()][-1] if built else None
    pointer = f"#/network/layers/{len(run.network.layers) - 1}"
    n_outputs = task.n_outputs(loss)
    ending = f"dense with {n_outputs} unit{'s' if n_outputs > 1 else ''}"
    if task.name != "regression":
        ending += f", alone or followed by {loss.output}"
    if last is None or not parameter_shapes(built):
        raise SpecError.at(pointer, f"the network has no layer to train; expected it to end in {ending}")
    if task.name != "regression" and isinstance(last, Elementwise):
        raise SpecError.at(pointer, f"the last layer does not fit {loss_name}, which takes logits; expected {ending}")
    if last.output_shape != (n_outputs,):
        came = " × ".join(map(str, last.output_shape))
        raise SpecError.at(
            pointer, f"the network gives {came} outputs and {dataset.name} needs {n_outputs}; expected {ending}"
        )
    if task.name == "regression" and run.network.layers[-1].type == "softmax":
        raise SpecError.at(pointer, f"a regression cannot end in softmax, whose outputs add up to 1; expected {ending}")


def _check_targets(dataset: Dataset, training: TrainingSpec) -> None:
    """What changes the targets of a classification must fit its labels, and is nothing for a regression."""
    task, weights = dataset.task, training.class_weights
    if task.name == "regression":
        for name, given in (("class_weights", weights is not None), ("label_smoothing", training.label_smoothing > 0)):
            if given:
                raise SpecError.at(
                    f"#/training/{name}", f"{dataset.name} is a regression and has no classes; leave it out"
                )
    elif weights is not None and (len(weights) != len(task.labels) or not any(weights)):
        raise SpecError.at(
            "#/training/class_weights",
            f"expected a weight, not all of them 0, for each of the {len(task.labels)} labels "
            f"{', '.join(map(str, task.labels[:20]))}; got {len(weights)}",
        )


def _check_augmentation(dataset: Dataset, training: TrainingSpec) -> None:
    if training.augmentation is not None and not isinstance(dataset.features, PixelFeatures):
        raise SpecError.at(
            "#/training/augmentation", f"augmentation distorts pictures, and {dataset.name} has none; leave it out"
        )


def split_sizes(dataset: Dataset, training: TrainingSpec) -> tuple[int, int, int]:
    """How many samples are for training, validation and test."""
    n_test = dataset.n_test or round(dataset.test_fraction * dataset.n_samples)
    n_validation = round(training.validation_fraction * (dataset.n_samples - n_test))
    return dataset.n_samples - n_test - n_validation, n_validation, n_test


def split(dataset: Dataset, training: TrainingSpec, rng: np.random.Generator) -> tuple[Rows, Rows, Rows]:
    """The row numbers for training, validation and test; the first thing that a run draws from its generator."""
    _, n_validation, n_test = split_sizes(dataset, training)
    rows = np.arange(dataset.n_samples)
    if dataset.n_test:
        rows, test = rows[:-n_test], rows[-n_test:]
    else:
        rows = rng.permutation(rows)
        rows, test = rows[n_test:], rows[:n_test]
    if n_validation:
        rows = rng.permutation(rows)
    return rows[n_validation:], rows[:n_validation], test


def train(
    run: RunSpec,
    *,
    threads: int = 1,
    resume: bytes | None = None,
    on_start: Callable[[int], object] | None = None,
    on_epoch: Callable[[Epoch], object] | None = None,
    on_checkpoint: Callable[[Callable[[], bytes]], object] | None = None,
    should_stop: Callable[[int], bool] | None = None,
) -> tuple[Model, FitResult]:
    """Carries out a run that `complete` described: the same description gives bit-identical weights.

    `on_start` is called with the number of training samples before the first batch. `on_checkpoint` is called after
    each epoch with a function that makes a checkpoint; given as `resume`, it goes on from there, and what comes out is
    bit-identical too. The others are those of `fit`. Raises `DivergedError`, and `ArtifactError` for a checkpoint of
    another run.
    """
    dataset = datasets.get(run.dataset)
    table = dataset.load()
    digest = table.sha256()
    rng = np.random.default_rng(run.training.seed)
    training_rows, validation_rows, test_rows = split(dataset, run.training, rng)
    features = dataset.features
    if isinstance(features, TableFeatures):
        features = features.fitted(table.inputs[training_rows])
    loss = LOSSES[run.training.loss]
    network = Network(run.network, features.shape, loss.output, rng)
    samples = _samples(table, features, run, training_rows)
    state = begin(network, samples, run.training)
    if resume is not None:
        checkpoint.restore(resume, run, digest, network, state, rng)

    def offer(state: FitState) -> None:
        if on_checkpoint is not None:
            on_checkpoint(lambda: checkpoint.dumps(run, digest, network, state, rng))

    if on_start is not None:
        on_start(len(samples))
    validation = replace(samples, rows=validation_rows) if len(validation_rows) else None
    result = fit(
        network,
        samples,
        run.training,
        rng,
        validation=validation,
        threads=threads,
        state=state,
        on_epoch=on_epoch,
        on_state=offer,
        should_stop=should_stop,
    )
    parts = {"test": replace(samples, rows=test_rows)} | ({} if validation is None else {"validation": validation})
    with Crew(threads if takes_pictures(run.network) else 1) as crew:
        measured = {name: evaluate(network, part, run.training, crew) for name, part in parts.items()}
    metrics = {f"{part}_{name}": value for part, found in measured.items() for name, value in found.items()}
    # `fit` measures its samples before each step: what the last steps did to the weights shows here only.
    if not all(map(math.isfinite, metrics.values())) or not _is_finite(network):
        raise DivergedError(len(result.epochs) + result.stopped)
    example = features.as_request(table.inputs[test_rows[:1]])
    return Model(network, metadata(run, dataset, features, digest, metrics, example)), result


def metadata(
    run: RunSpec, dataset: Dataset, features: Features, digest: str, metrics: dict[str, float], example: dict[str, JSON]
) -> Metadata:
    """What the artifact of a run tells, made by this version of `nn`; `digest` is that of the data."""
    versions = {"trainserve": __version__, "numpy": np.__version__, "python": platform.python_version()}
    return Metadata(
        format_version=artifact.FORMAT_VERSION,
        task=dataset.task,
        features=features,
        spec=run,
        dataset_sha256=digest,
        library_versions=versions,
        metrics=metrics,
        example=example,
    )


def _is_finite(network: Network) -> bool:
    return all(np.isfinite(array).all() for array in network.arrays.values())


def test(model: Model) -> dict[str, float]:
    """The metrics of a model on the test split of the data set it was trained on: the split that its seed gives.

    Raises `NNError` where this installation does not have the data that the model was trained on.
    """
    run = model.metadata.spec
    dataset = datasets.get(run.dataset)
    table = dataset.load()
    if table.sha256() != model.metadata.dataset_sha256:
        raise NNError(f"the data set {run.dataset} here is not the one that this model was trained on")
    _, _, test_rows = split(dataset, run.training, np.random.default_rng(run.training.seed))
    samples = _samples(table, model.metadata.features, run, test_rows)
    return {f"test_{name}": value for name, value in evaluate(model.network, samples, run.training).items()}


def _samples(table: Table, features: Features, run: RunSpec, rows: Rows) -> Samples:
    """Rows of the data set for `fit`. Pictures stay bytes until their batch comes; small tables are encoded at once."""
    dtype = np.dtype(run.network.dtype)
    inputs: NDArray[Any] = table.inputs
    encoder: PixelFeatures | NumberFeatures
    if isinstance(features, PixelFeatures):
        encoder = features
    else:
        encoder = NumberFeatures(n_inputs=features.n_inputs)
        inputs = np.empty((len(table.inputs), features.n_inputs), dtype)
        features.encode(table.inputs, inputs)
    targets = table.targets
    if "regression" in LOSSES[run.training.loss].tasks:
        targets = targets.astype(dtype)
    return Samples(inputs, targets, rows, encoder)
