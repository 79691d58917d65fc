"""A table of one's own, as arrays, with settings that do well on tables: `nn.fit_arrays(inputs, targets)`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nn.activations import Array
from nn.errors import InputError, ShapeError
from nn.features import Column, NumberFeatures, TableFeatures
from nn.fitting import Samples, fit
from nn.losses import LOSSES
from nn.network import Network
from nn.spec import (
    ActivationSpec,
    AdamWSpec,
    CosineSpec,
    DenseSpec,
    LossName,
    NetworkSpec,
    TrainingSpec,
)


@dataclass(frozen=True)
class ArrayModel:
    """What `fit_arrays` gives. `labels` are those of a classification, and empty for a regression."""

    network: Network
    features: TableFeatures
    labels: NDArray[Any]
    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]

    def predict(self, inputs: ArrayLike) -> NDArray[Any]:
        """The label, `(n_samples,)`, or the values, `(n_samples,)` or `(n_samples, n_values)`, of each row."""
        answers = self.network.predict(self._encoded(inputs))
        if len(self.labels):
            return np.asarray(self.labels[answers.argmax(axis=1)])
        values = answers * self.deviation + self.mean
        return values[:, 0] if values.shape[1] == 1 else values

    def probabilities(self, inputs: ArrayLike) -> Array:
        """The probability of each label, `(n_samples, n_labels)`. Raises `InputError` for a regression."""
        if not len(self.labels):
            raise InputError.at("#", "a regression has no labels and no probabilities; ask for predict")
        return self.network.predict(self._encoded(inputs))

    def _encoded(self, inputs: ArrayLike) -> Array:
        raw = _rows(inputs)
        if raw.shape[1] != len(self.features.columns):
            raise ShapeError.at("#", f"expected rows of {len(self.features.columns)} numbers; got {raw.shape[1]}")
        x = np.empty((len(raw), self.features.n_inputs), self.network.dtype)
        self.features.encode(raw, x)
        return x


def fit_arrays(inputs: ArrayLike, targets: ArrayLike, *, seed: int = 1) -> ArrayModel:
    """Trains on a table: `inputs` `(n_samples, n_columns)` of numbers, NaN where a cell is missing.

    `targets` of floats, `(n_samples,)` or `(n_samples, n_values)`, make it a regression; whole numbers, booleans and
    text, `(n_samples,)`, a classification. Columns, and the targets of a regression, are standardised. Raises
    `ShapeError` and `InputError` for arrays that are no table.
    """
    raw, told = _rows(inputs), np.asarray(targets)
    if len(raw) != len(told) or told.ndim not in (1, 2) or len(raw) < 2:
        raise ShapeError.at("#", f"expected a target for each of at least 2 rows; got {raw.shape} and {told.shape}")
    columns = tuple(Column(name=f"column {index}") for index in range(raw.shape[1]))
    features = TableFeatures(columns=columns).fitted(raw)
    mean, deviation, labels = np.zeros(1), np.ones(1), np.empty(0)
    loss: LossName = "cross_entropy"
    if told.dtype.kind == "f":
        if not np.isfinite(told).all():
            raise InputError.at("#", "targets must be finite numbers; leave rows without a target out")
        loss, told = "mean_squared_error", told.reshape(len(told), -1)
        mean, deviation = told.mean(axis=0), told.std(axis=0)
        deviation[deviation == 0] = 1
        aims: NDArray[Any] = ((told - mean) / deviation).astype(np.float32)
        n_outputs = told.shape[1]
    else:
        labels, aims = np.unique(told, return_inverse=True)
        n_outputs = len(labels)
        if told.ndim != 1 or n_outputs < 2:
            raise InputError.at("#", "a classification needs one target a row, of at least two kinds")
    spec = NetworkSpec(
        layers=(
            DenseSpec(units=64),
            ActivationSpec(type="relu"),
            DenseSpec(units=64),
            ActivationSpec(type="relu"),
            DenseSpec(units=n_outputs, initializer="xavier"),
        )
    )
    # Tables are small and easily learnt by heart: a strong decay of the weights is worth more than stopping early,
    # which would hold rows back.
    training = TrainingSpec(
        loss=loss,
        epochs=100,
        batch_size=32,
        seed=seed,
        validation_fraction=0,
        optimizer=AdamWSpec(learning_rate=0.003, weight_decay=1),
        schedule=CosineSpec(),
    )
    rng = np.random.default_rng(seed)
    network = Network(spec, features.shape, LOSSES[loss].output, rng)
    x = np.empty((len(raw), features.n_inputs), network.dtype)
    features.encode(raw, x)  # once, and not each epoch: a table is small
    fit(network, Samples(x, aims, np.arange(len(x)), NumberFeatures(n_inputs=features.n_inputs)), training, rng)
    return ArrayModel(network, features, labels, mean, deviation)


def _rows(inputs: ArrayLike) -> NDArray[np.float64]:
    rows = np.asarray(inputs)
    if rows.ndim != 2 or rows.dtype.kind not in "biuf":
        raise ShapeError.at("#", f"expected rows of numbers, (n_samples, n_columns); got {rows.dtype} {rows.shape}")
    rows = rows.astype(np.float64)
    if np.isinf(rows).any():
        raise InputError.at("#", "expected finite numbers, or NaN for a missing cell; got infinity")
    return rows
