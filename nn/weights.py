"""Weights from elsewhere in the network of a run: the model that the run would have given with them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from nn import artifact, datasets, run
from nn.activations import Array
from nn.errors import ArtifactError
from nn.features import TableFeatures
from nn.layers import Shape
from nn.losses import LOSSES
from nn.model import Model, RunSpec
from nn.network import Network, array_shapes, build_layers

MAX_TOLD = 5


def with_weights(described: RunSpec, arrays: Mapping[str, Array]) -> Model:
    """The model of a run that `complete` described, with `arrays` in the place of what it would have trained.

    Names and shapes are those of an artifact (`layers.0.weight`); the numbers are converted to the network's dtype.
    Columns of a table are fitted on the training split, and the metrics are those of the test split, as in `train`.

    Raises `ArtifactError` where an array is missing, besides, or of another shape, and for numbers that are not finite.
    """
    dataset, loss = datasets.get(described.dataset), LOSSES[described.training.loss]
    built = build_layers(described.network, dataset.features.shape, loss.output)
    _check(array_shapes(built), arrays)
    table = dataset.load()
    rows, _, test_rows = run.split(dataset, described.training, np.random.default_rng(described.training.seed))
    features = dataset.features
    if isinstance(features, TableFeatures):
        features = features.fitted(table.inputs[rows])
    network = Network(described.network, features.shape, loss.output)
    with np.errstate(over="ignore"):  # what is too large for the dtype becomes infinite, and is told as that
        network.load(arrays)
    example = features.as_request(table.inputs[test_rows[:1]])
    metadata = run.metadata(described, dataset, features, table.sha256(), {}, example)
    # Whether the numbers can be those of a network is for the reader of artifacts to say.
    model = artifact.loads(artifact.dumps(Model(network, metadata)))
    metrics = run.test(model)
    if not all(map(math.isfinite, metrics.values())):
        raise ArtifactError("with these weights the loss on the test split is not a finite number")
    return replace(model, metadata=replace(metadata, metrics=metrics))


def _check(expected: Mapping[str, Shape], arrays: Mapping[str, Array]) -> None:
    missing = [f"{name} {shape}" for name, shape in expected.items() if name not in arrays]
    unknown = sorted(name[:60] for name in arrays if name not in expected)
    if missing or unknown:
        wrong = [
            f"{word} {', '.join(names[:MAX_TOLD])}" + (f" and {len(names) - MAX_TOLD} more" if names[MAX_TOLD:] else "")
            for word, names in (("missing", missing), ("not known", unknown))
            if names
        ]
        raise ArtifactError(f"the arrays are not those of the network: {'; '.join(wrong)}")
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ArtifactError(
                f"{name}: expected shape {shape}; got {arrays[name].shape}; "
                "a dense weight is (inputs, units), one of conv2d (filters, height, width, channels)"
            )
