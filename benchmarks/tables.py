"""Own tables with default settings, `nn` beside scikit-learn's MLP on equal splits: `python -m benchmarks.tables`."""

from __future__ import annotations

import statistics
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import nn
from benchmarks.report import table

Array = NDArray[Any]
# `(x_train, y_train, x_test, task, seed)` to predictions for `x_test`: values of a regression, else class numbers.
Trainer = Callable[[Array, Array, Array, str, int], Array]

SEEDS = (1, 2, 3, 4, 5)
TEST_FRACTION = 0.2


@dataclass(frozen=True)
class OwnTable:
    """A table of numbers as somebody might bring it, and how good a prediction of its last column is."""

    name: str
    task: str
    load: Callable[..., tuple[Array, Array]]
    metric: str
    score: Callable[[Array, Array], float]


TABLES = (
    OwnTable("diabetes", "regression", load_diabetes, "R²", r2_score),
    OwnTable("breast cancer", "classification", load_breast_cancer, "accuracy", accuracy_score),
)


def train_nn(x_train: Array, y_train: Array, x_test: Array, task: str, seed: int) -> Array:
    return nn.fit_arrays(x_train, y_train, seed=seed).predict(x_test)


def train_raw_mlp(x_train: Array, y_train: Array, x_test: Array, task: str, seed: int) -> Array:
    mlp = MLPRegressor if task == "regression" else MLPClassifier
    return np.asarray(mlp(random_state=seed).fit(x_train, y_train).predict(x_test))


def train_scaled_mlp(x_train: Array, y_train: Array, x_test: Array, task: str, seed: int) -> Array:
    mlp = MLPRegressor if task == "regression" else MLPClassifier
    pipeline = make_pipeline(StandardScaler(), mlp(random_state=seed))
    return np.asarray(pipeline.fit(x_train, y_train).predict(x_test))


def train_target_scaled_mlp(x_train: Array, y_train: Array, x_test: Array, task: str, seed: int) -> Array:
    """More than the defaults: who knows that `MLPRegressor` wants small targets scales these too."""
    if task != "regression":
        return train_scaled_mlp(x_train, y_train, x_test, task, seed)
    pipeline = make_pipeline(StandardScaler(), MLPRegressor(random_state=seed))
    scaled = TransformedTargetRegressor(pipeline, transformer=StandardScaler())
    return np.asarray(scaled.fit(x_train, y_train).predict(x_test))


CONTENDERS: dict[str, Trainer] = {
    "nn": train_nn,
    "MLP": train_raw_mlp,
    "MLP, inputs standardised": train_scaled_mlp,
    "MLP, inputs and targets standardised": train_target_scaled_mlp,
}


def scores(described: OwnTable, train: Trainer) -> list[float]:
    """The score on the test part of each split."""
    x, y = described.load(return_X_y=True)
    found = []
    for seed in SEEDS:
        x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=TEST_FRACTION, random_state=seed)
        found.append(float(described.score(y_test, train(x_train, y_train, x_test, described.task, seed))))
    return found


def main() -> int:
    # That its 200 epochs were too few is told by the scores.
    warnings.filterwarnings("ignore", module="sklearn")
    rows = []
    for described in TABLES:
        for name, train in CONTENDERS.items():
            found = scores(described, train)
            columns = [*found, statistics.mean(found)]
            rows.append((f"{described.name}, {described.metric}", name, *(f"{score:.4f}" for score in columns)))
    header = ("table", "contender", *(f"split {seed}" for seed in SEEDS), "mean")
    sys.stdout.write(table(header, rows) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
