"""The Cleveland heart disease data: 303 patients, 13 columns, and whether they are ill.

By Andras Janosi, William Steinbrunn, Matthias Pfisterer and Robert Detrano
(UCI Machine Learning Repository, CC BY 4.0).
"""

from __future__ import annotations

import csv
from importlib import resources

import numpy as np

from nn.datasets.dataset import Dataset, Table, Task
from nn.features import Column, TableFeatures
from nn.spec import ActivationSpec, DenseSpec, EarlyStoppingSpec, NetworkSpec, SGDSpec, TrainingSpec

COLUMNS = (
    Column(name="age"),
    Column(name="sex", categories=("female", "male")),
    Column(name="chest_pain", categories=("typical ang", "atypical ang", "non-anginal", "asymptomatic")),
    Column(name="resting_bp"),
    Column(name="cholesterol"),
    Column(name="fasting_blood_sugar"),
    Column(name="resting_ecg", categories=("normal", "ST-T abnormal", "left vent hypertrophy")),
    Column(name="max_heart_rate"),
    Column(name="exercise_angina"),
    Column(name="st_depression"),
    Column(name="st_slope", categories=("upsloping", "flat", "downsloping")),
    Column(name="major_vessels"),
    Column(name="thal", categories=("normal", "fixed defect", "reversable defect")),
)
TARGET = "disease"


def load() -> Table:
    text = resources.files("nn.datasets").joinpath("data", "heart.csv").read_text()
    rows = list(csv.DictReader(text.splitlines()))
    inputs = np.array([[_cell(column, row[column.name]) for column in COLUMNS] for row in rows])
    return Table(inputs, np.array([int(row[TARGET]) for row in rows]))


def _cell(column: Column, text: str) -> float:
    if not text:
        return column.read(None)
    return column.read(text if column.categories else float(text))


HEART = Dataset(
    name="heart",
    task=Task(name="binary_classification", labels=(0, 1)),
    features=TableFeatures(columns=COLUMNS),
    load=load,
    n_samples=303,
    network=NetworkSpec(
        layers=(
            DenseSpec(units=8),
            ActivationSpec(type="relu"),
            DenseSpec(units=1, initializer="xavier"),
            ActivationSpec(type="sigmoid"),
        )
    ),
    training=TrainingSpec(
        loss="binary_cross_entropy",
        epochs=200,
        batch_size=16,
        validation_fraction=0.15,
        optimizer=SGDSpec(learning_rate=0.02, momentum=0.5),
        early_stopping=EarlyStoppingSpec(patience=20),
    ),
)
