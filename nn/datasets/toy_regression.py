"""A toy regression made by program: 2,000 points along a bell with noise in every place."""

from __future__ import annotations

import numpy as np

from nn.datasets.dataset import Dataset, Table, Task
from nn.features import NumberFeatures
from nn.spec import ActivationSpec, DenseSpec, NetworkSpec, SGDSpec, TrainingSpec

N_POINTS = 2_000
DATA_SEED = 0  # the data are the same in every run, whatever its own seed


def load() -> Table:
    rng = np.random.default_rng(DATA_SEED)
    x = 0.5 * rng.standard_normal(N_POINTS) + 0.35
    u = 0.75 * x - 0.35
    exponent = -(8 * u**2 + 0.1 * u + 0.1) + 0.05 * rng.standard_normal(N_POINTS)
    y = np.exp(exponent) + 0.05 * rng.standard_normal(N_POINTS)
    y /= np.abs(y).max()
    return Table(x[:, np.newaxis], y[:, np.newaxis])


TOY_REGRESSION = Dataset(
    name="toy-regression",
    task=Task(name="regression", n_values=1),
    features=NumberFeatures(n_inputs=1),
    load=load,
    n_samples=N_POINTS,
    network=NetworkSpec(
        layers=(
            DenseSpec(units=16),
            ActivationSpec(type="tanh"),
            DenseSpec(units=16),
            ActivationSpec(type="tanh"),
            DenseSpec(units=1, initializer="xavier"),
        )
    ),
    training=TrainingSpec(
        loss="mean_squared_error",
        epochs=100,
        batch_size=16,
        optimizer=SGDSpec(learning_rate=0.05, momentum=0.9),
    ),
)
