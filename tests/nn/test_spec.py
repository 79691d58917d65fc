from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from nn import NetworkSpec, SpecError, TrainingSpec
from nn.schema import json_schema, parse, to_json
from nn.spec import ActivationSpec, DenseSpec, EarlyStoppingSpec, SGDSpec

LOSS = {"loss": "cross_entropy"}


def test_a_network_is_read_from_json() -> None:
    data = {"layers": [{"type": "dense", "units": 64, "initializer": "xavier"}, {"type": "relu"}], "dtype": "float64"}
    expected = NetworkSpec(
        layers=(DenseSpec(units=64, initializer="xavier"), ActivationSpec(type="relu")), dtype="float64"
    )
    assert parse(NetworkSpec, data) == expected
    assert parse(NetworkSpec, json.loads(json.dumps(to_json(expected)))) == expected


def test_a_training_is_read_from_json() -> None:
    data = {
        "loss": "cross_entropy",
        "epochs": 10,
        "batch_size": 16,
        "seed": 1,
        "validation_fraction": 0.1,
        "optimizer": {"type": "sgd", "learning_rate": 0.08, "momentum": 0.9, "nesterov": True},
        "early_stopping": {"patience": 5, "min_delta": 0.0},
    }
    expected = TrainingSpec(
        loss="cross_entropy",
        batch_size=16,
        optimizer=SGDSpec(learning_rate=0.08, momentum=0.9, nesterov=True),
        early_stopping=EarlyStoppingSpec(),
    )
    assert parse(TrainingSpec, data) == expected
    assert to_json(expected) == data


def test_specs_are_frozen_and_compare_by_value() -> None:
    spec = TrainingSpec(loss="cross_entropy")
    assert spec == TrainingSpec(loss="cross_entropy")
    assert hash(spec) == hash(TrainingSpec(loss="cross_entropy"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.epochs = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    "fields",
    [
        {"epochs": 1},
        {"epochs": 100_000},
        {"batch_size": 1},
        {"batch_size": 65_536},
        {"seed": 0},
        {"seed": 2**53 - 1},
        {"validation_fraction": 0},
        {"validation_fraction": 0.9},
        {"optimizer": {"learning_rate": 1e-300}},
        {"optimizer": {"learning_rate": 1000}},
        {"optimizer": {"momentum": 0}},
        {"optimizer": {"momentum": 0.999}},
        {"early_stopping": {"patience": 1, "min_delta": 0}},
        {"early_stopping": None},
    ],
    ids=str,
)
def test_training_takes_its_bounds(fields: dict[str, Any]) -> None:
    read = to_json(parse(TrainingSpec, LOSS | fields))
    for name, value in fields.items():
        if isinstance(value, dict):
            assert read[name].items() >= value.items()
        else:
            assert read[name] == value


@pytest.mark.parametrize(
    ("fields", "pointer", "detail"),
    [
        ({"epochs": 0}, "epochs", "a whole number at least 1 and at most 100000; got 0"),
        ({"epochs": 100_001}, "epochs", "at most 100000; got 100001"),
        ({"batch_size": 0}, "batch_size", "at least 1"),
        ({"batch_size": 65_537}, "batch_size", "at most 65536"),
        ({"seed": -1}, "seed", "at least 0"),
        ({"seed": 2**53}, "seed", "at most 9007199254740991"),
        ({"validation_fraction": -0.1}, "validation_fraction", "at least 0"),
        ({"validation_fraction": 0.91}, "validation_fraction", "at most 0.9"),
        ({"optimizer": {"learning_rate": 0}}, "optimizer/learning_rate", "a number above 0 and at most 1000; got 0"),
        ({"optimizer": {"learning_rate": -0.1}}, "optimizer/learning_rate", "above 0"),
        ({"optimizer": {"learning_rate": 1001}}, "optimizer/learning_rate", "at most 1000"),
        ({"optimizer": {"momentum": 1}}, "optimizer/momentum", "a number at least 0 and below 1; got 1"),
        ({"optimizer": {"momentum": -0.1}}, "optimizer/momentum", "at least 0"),
        ({"optimizer": {"nesterov": "yes"}}, "optimizer/nesterov", "true or false; got 'yes'"),
        ({"early_stopping": {"patience": 0}}, "early_stopping/patience", "at least 1"),
        ({"early_stopping": {"min_delta": -1}}, "early_stopping/min_delta", "at least 0"),
        ({"loss": "hinge"}, "loss", "one of mean_squared_error, cross_entropy, binary_cross_entropy; got 'hinge'"),
    ],
    ids=str,
)
def test_training_refuses_what_is_out_of_range(fields: dict[str, Any], pointer: str, detail: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(TrainingSpec, LOSS | fields)
    (problem,) = caught.value.problems
    assert problem.pointer == f"#/{pointer}"
    assert problem.detail.startswith("expected ")
    assert detail in problem.detail


@pytest.mark.parametrize("n_layers", [1, 64])
def test_a_network_has_1_to_64_layers(n_layers: int) -> None:
    assert len(parse(NetworkSpec, {"layers": [{"type": "relu"}] * n_layers}).layers) == n_layers
    with pytest.raises(SpecError, match="#/layers: expected 1 to 64 items; got"):
        parse(NetworkSpec, {"layers": [{"type": "relu"}] * (65 if n_layers == 64 else 0)})


def test_the_json_schema_lists_names_and_ranges() -> None:
    network, training = json_schema(NetworkSpec), json_schema(TrainingSpec)
    dense, activation = network["properties"]["layers"]["items"]["anyOf"]
    assert dense["properties"]["units"] == {"type": "integer", "minimum": 1, "maximum": 1_000_000}
    assert activation["properties"]["type"]["enum"] == ["relu", "tanh", "sigmoid", "softmax", "identity"]
    assert training["required"] == ["loss"]
    assert training["properties"]["epochs"] == {"type": "integer", "minimum": 1, "maximum": 100_000, "default": 10}
    assert training["properties"]["optimizer"]["properties"]["learning_rate"] == {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1000,
        "default": 0.01,
    }
