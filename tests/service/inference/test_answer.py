from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest

import nn
from nn.model import Model
from service.inference.answer import explanations, predictions


def trained(dataset: str) -> Model:
    return nn.train(nn.complete(dataset, training={"epochs": 1, "early_stopping": None}))[0]


@pytest.fixture(scope="module")
def heart() -> Model:
    return trained("heart")


@pytest.fixture(scope="module")
def bell() -> Model:
    return trained("toy-regression")


def told(model: Model, outputs: list[list[float]]) -> Any:
    answer = predictions(model, np.array(outputs, np.float32))
    return orjson.loads(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY))


def test_one_probability_becomes_two(heart: Model) -> None:
    assert told(heart, [[0.25], [0.75], [0.5]]) == [
        {"label": 0, "probability": 0.75, "probabilities": [0.75, 0.25]},
        {"label": 1, "probability": 0.75, "probabilities": [0.25, 0.75]},
        {"label": 0, "probability": 0.5, "probabilities": [0.5, 0.5]},
    ]


def test_values(bell: Model) -> None:
    assert told(bell, [[0.5], [-1.0]]) == [{"value": [0.5]}, {"value": [-1.0]}]


def test_what_is_not_finite_is_null(heart: Model, bell: Model) -> None:
    assert told(bell, [[np.nan], [np.inf]]) == [{"value": [None]}, {"value": [None]}]
    assert told(heart, [[np.nan]])[0]["probabilities"] == [None, None]


def test_numbers_have_the_digits_of_their_dtype(bell: Model) -> None:
    answer = predictions(bell, np.array([[0.1]], np.float32))
    assert orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY) == b'[{"value":[0.1]}]'


def test_a_table_is_explained_by_what_went_in(heart: Model) -> None:
    features = heart.metadata.features
    raw = features.read_records(heart.metadata.example["records"])
    (saw,) = explanations(heart, raw)
    assert saw["inputs"].shape == (features.n_inputs,)
    assert np.isfinite(saw["inputs"]).all()
