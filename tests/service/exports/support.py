"""Models of any network, as a run would have given them."""

from __future__ import annotations

import numpy as np

import nn
from nn.datasets import Task
from nn.features import Column, Features, NumberFeatures, PixelFeatures, Raw, TableFeatures
from nn.losses import LOSSES
from nn.model import Metadata, Model
from nn.network import Network
from nn.spec import DTypeName, LossName
from service.exports.source import Source
from tests.integration.support import REPOSITORY
from tests.nn.support import Shorthand, layers, training, unsettle

PIXELS = PixelFeatures(height=9, width=7, offset=-0.5)
NUMBERS = NumberFeatures(n_inputs=5)
TABLE = TableFeatures(
    columns=(
        Column(name="age", fill=50.5, mean=51.3, deviation=9.1),
        Column(name="ground", categories=("sand", "clay", "peat"), fill=1, seen=(True, True, False)),
        Column(name="year", fill=2.0e9 + 1, mean=2.0e9, deviation=0.7),
        Column(name="wet", categories=("no", "yes")),
    )
)
SOURCE = Source(model="thing", version=3, sha256="ab" * 32)
LABELS = (("a", "b", "c", "d"), ("no", "yes"))


def model(
    features: Features, *shorthand: Shorthand, loss: LossName = "cross_entropy", dtype: DTypeName = "float32"
) -> Model:
    """A model with a random network, none of whose numbers is at a special value."""
    rng = np.random.default_rng(11)
    spec = nn.NetworkSpec(layers=layers(*shorthand), dtype=dtype)
    network = unsettle(Network(spec, features.shape, LOSSES[loss].output, rng), rng)
    task = {
        "cross_entropy": Task(name="classification", labels=LABELS[0]),
        "binary_cross_entropy": Task(name="binary_classification", labels=LABELS[1]),
        "mean_squared_error": Task(name="regression", n_values=network.output_shape[0]),
    }[loss]
    metadata = Metadata(
        format_version=2,
        task=task,
        features=features,
        spec=nn.RunSpec(dataset="things", network=spec, training=training(loss=loss)),
        dataset_sha256="cd" * 32,
        library_versions={},
        metrics={"test_loss": 0.25},
        example=features.as_request(raw(features, 1)),
    )
    return Model(network, metadata)


def raw(features: Features, n_samples: int) -> Raw:
    """Random raw samples as they come out of JSON; a quarter of a table's cells is missing."""
    rng = np.random.default_rng(n_samples)
    if isinstance(features, PixelFeatures):
        return rng.uniform(0, 1, (n_samples, features.n_inputs))
    if isinstance(features, NumberFeatures):
        return rng.standard_normal((n_samples, features.n_inputs))
    cells = np.stack(
        [
            rng.integers(0, len(column.categories), n_samples)
            if column.categories
            else rng.normal(column.mean, column.deviation, n_samples)
            for column in features.columns
        ],
        axis=1,
    )
    return np.where(rng.uniform(size=cells.shape) < 0.25, np.nan, cells)


def shipped(name: str) -> Model:
    (path,) = (REPOSITORY / "models" / name / "1").glob("*.npz")
    return nn.loads(path.read_bytes())
