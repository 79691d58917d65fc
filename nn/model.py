"""A trained model: a network, what turns raw values into its inputs, and where it came from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np

from nn.activations import Array
from nn.datasets import Task
from nn.errors import ShapeError
from nn.features import Features, Raw, TableFeatures
from nn.network import Network
from nn.schema import Range
from nn.spec import NetworkSpec, TrainingSpec


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """All that decides what a training run gives: the data set, the network, the training with its seed."""

    dataset: str
    network: NetworkSpec
    training: TrainingSpec


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What an artifact tells beside its numbers. Nothing in it depends on when or where the run took place.

    `metrics` are those of the test split (`test_loss`, `test_accuracy`, …) and of the validation split; `example` is
    a request body with one sample of the test split.
    """

    format_version: Annotated[int, Range(minimum=1)]
    task: Task
    features: Features
    spec: RunSpec
    dataset_sha256: str
    library_versions: dict[str, str]
    metrics: dict[str, float]
    example: dict[str, Any]


@dataclass(frozen=True)
class Model:
    """A network together with its metadata."""

    network: Network
    metadata: Metadata

    @property
    def n_outputs(self) -> int:
        """How many numbers `predict` gives for a sample."""
        return math.prod(self.network.output_shape)

    def predict(self, raw: Raw) -> Array:
        """Probabilities or values, `(n_samples, n_outputs)`, for raw samples as `metadata.features` reads them."""
        network, features = self.network, self.metadata.features
        width = len(features.columns) if isinstance(features, TableFeatures) else features.n_inputs
        if raw.ndim != 2 or raw.shape[1] != width:
            raise ShapeError.at("#/inputs", f"expected rows of {width} numbers; got the shape {raw.shape}")
        answers = np.empty((len(raw), *network.output_shape), network.dtype)
        x = np.empty((min(len(raw), network.block_size), *network.input_shape), network.dtype)
        for start in range(0, len(raw), network.block_size):
            block = raw[start : start + network.block_size]
            features.encode(block, x[: len(block)].reshape(len(block), -1))
            answers[start : start + len(block)] = network.predict(x[: len(block)])
        return answers

    def frozen(self) -> Model:
        """This model for predictions alone; see `Network.frozen`."""
        return replace(self, network=self.network.frozen())
