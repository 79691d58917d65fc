from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any, get_args

import pytest

from nn import NetworkSpec, SpecError, TrainingSpec
from nn.activations import ACTIVATIONS
from nn.initializers import DEVIATIONS
from nn.losses import LOSSES
from nn.network import LAYERS
from nn.optimizers import OPTIMIZERS
from nn.schedules import SCHEDULES
from nn.schema import json_schema, parse, to_json, type_names
from nn.spec import (
    ActivationName,
    ActivationSpec,
    AugmentationSpec,
    BatchNormSpec,
    ConstantSpec,
    Conv2DSpec,
    CosineSpec,
    DenseSpec,
    DropoutSpec,
    EarlyStoppingSpec,
    InitializerName,
    LayerSpec,
    LossName,
    OptimizerSpec,
    Pool2DSpec,
    ReshapeSpec,
    ScheduleSpec,
    SGDSpec,
)

LOSS = {"loss": "cross_entropy"}
LAYER_NAMES = [name for kind in get_args(LayerSpec) for name in type_names(kind)]


def sgd(**fields: object) -> dict[str, Any]:
    return {"optimizer": {"type": "sgd", **fields}}


def test_a_network_is_read_from_json() -> None:
    data = {"layers": [{"type": "dense", "units": 64, "initializer": "xavier"}, {"type": "relu"}], "dtype": "float64"}
    expected = NetworkSpec(
        layers=(DenseSpec(units=64, initializer="xavier"), ActivationSpec(type="relu")), dtype="float64"
    )
    assert parse(NetworkSpec, data) == expected
    assert parse(NetworkSpec, json.loads(json.dumps(to_json(expected)))) == expected


def test_layers_for_pictures_are_read_from_json() -> None:
    data = {
        "layers": [
            {"type": "conv2d", "filters": 8},
            {"type": "batch_norm"},
            {"type": "average_pool2d", "pool_size": 3, "stride": 1},
            {"type": "flatten"},
            {"type": "dropout", "rate": 0.5},
        ]
    }
    expected = NetworkSpec(
        layers=(
            Conv2DSpec(filters=8, kernel_size=3, stride=1, padding="valid", initializer="he"),
            BatchNormSpec(momentum=0.9, epsilon=1e-5),
            Pool2DSpec(type="average_pool2d", pool_size=3, stride=1),
            ReshapeSpec(type="flatten"),
            DropoutSpec(rate=0.5),
        )
    )
    assert parse(NetworkSpec, data) == expected
    assert parse(NetworkSpec, json.loads(json.dumps(to_json(expected)))) == expected


class TestNames:
    """What the descriptions know by name is what the engine knows, and nothing else is."""

    def test_layers(self) -> None:
        assert len(LAYER_NAMES) == len(LAYERS)
        assert set(LAYER_NAMES) == set(LAYERS)

    def test_functions(self) -> None:
        assert (set(get_args(ActivationName)), set(get_args(InitializerName))) == (set(ACTIVATIONS), set(DEVIATIONS))
        assert set(get_args(LossName)) == set(LOSSES)

    def test_optimizers_and_schedules(self) -> None:
        assert (set(get_args(OptimizerSpec)), set(get_args(ScheduleSpec))) == (set(OPTIMIZERS), set(SCHEDULES))

    @pytest.mark.parametrize("field", ["optimizer", "schedule"])
    def test_each_has_good_defaults(self, field: str) -> None:
        for kind in get_args({"optimizer": OptimizerSpec, "schedule": ScheduleSpec}[field]):
            (name,) = type_names(kind)
            assert getattr(parse(TrainingSpec, LOSS | {field: {"type": name}}), field) == kind()

    @pytest.mark.parametrize(
        ("kind", "data", "names"),
        [
            (NetworkSpec, {"layers": [{"type": "swish"}]}, LAYER_NAMES),
            (TrainingSpec, {"loss": "hinge"}, get_args(LossName)),
            (TrainingSpec, LOSS | {"optimizer": {"type": "lion"}}, ("sgd", "rmsprop", "adam", "adamw")),
            (
                TrainingSpec,
                LOSS | {"schedule": {"type": "linear"}},
                ("constant", "step", "exponential", "cosine", "one_cycle", "reduce_on_plateau"),
            ),
        ],
    )
    def test_one_that_is_not_known_is_answered_with_all_that_are(
        self, kind: type[object], data: object, names: Sequence[str]
    ) -> None:
        with pytest.raises(SpecError, match=f"expected one of {', '.join(names)}; got "):
            parse(kind, data)


def test_a_training_is_read_from_json() -> None:
    data = {
        "loss": "cross_entropy",
        "epochs": 10,
        "batch_size": 16,
        "seed": 1,
        "validation_fraction": 0.1,
        "optimizer": {
            "type": "sgd",
            "learning_rate": 0.08,
            "momentum": 0.9,
            "nesterov": True,
            "weight_decay": 0.0,
        },
        "schedule": {"type": "cosine", "warm_up": 0.1, "final": 0.0},
        "clip_norm": 1.0,
        "label_smoothing": 0.1,
        "class_weights": [1.0, 2.0],
        "augmentation": {
            "shift": 2.0,
            "rotation": 10.0,
            "scale": 0.1,
            "shear": 5.0,
            "elastic": 1.0,
            "smoothness": 4.0,
        },
        "early_stopping": {"patience": 5, "min_delta": 0.0},
    }
    expected = TrainingSpec(
        loss="cross_entropy",
        batch_size=16,
        optimizer=SGDSpec(learning_rate=0.08, momentum=0.9, nesterov=True),
        schedule=CosineSpec(warm_up=0.1),
        clip_norm=1,
        label_smoothing=0.1,
        class_weights=(1, 2),
        augmentation=AugmentationSpec(shift=2, rotation=10, scale=0.1, shear=5, elastic=1),
        early_stopping=EarlyStoppingSpec(),
    )
    assert parse(TrainingSpec, data) == expected
    assert to_json(expected) == data


def test_what_a_training_leaves_out_does_nothing() -> None:
    spec = parse(TrainingSpec, LOSS)
    assert spec == TrainingSpec(loss="cross_entropy")
    assert (spec.schedule, spec.clip_norm, spec.label_smoothing) == (ConstantSpec(), None, 0)
    assert (spec.class_weights, spec.augmentation, spec.early_stopping) == (None, None, None)
    assert spec.optimizer == SGDSpec(momentum=0, nesterov=False, weight_decay=0)


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
        *(
            {"optimizer": {"type": name, "learning_rate": rate, "weight_decay": decay}}
            for name in ("sgd", "rmsprop", "adam", "adamw")
            for rate, decay in ((1e-300, 0), (1000, 1000))
        ),
        {"optimizer": {"type": "sgd", "momentum": 0}},
        {"optimizer": {"type": "sgd", "momentum": 0.999}},
        {"optimizer": {"type": "rmsprop", "rho": 0, "epsilon": 1e-300}},
        {"optimizer": {"type": "adam", "beta1": 0, "beta2": 0.9999999, "epsilon": 1}},
        {"schedule": {"type": "step", "every": 100_000, "factor": 1}},
        {"schedule": {"type": "exponential", "factor": 1}},
        {"schedule": {"type": "cosine", "warm_up": 0, "final": 1}},
        {"schedule": {"type": "one_cycle", "rise": 0.999, "initial": 1, "final": 0}},
        {"schedule": {"type": "reduce_on_plateau", "patience": 1, "factor": 0.999, "min_delta": 0}},
        {"clip_norm": 1e-300},
        {"clip_norm": None},
        {"label_smoothing": 0.999},
        {"class_weights": [0, 1_000_000]},
        {"class_weights": None},
        {"augmentation": {}},
        {"augmentation": {"shift": 100, "rotation": 180, "scale": 0.9, "shear": 60, "elastic": 100, "smoothness": 100}},
        {"augmentation": None},
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
        (sgd(learning_rate=0), "optimizer/learning_rate", "a number above 0 and at most 1000; got 0"),
        (sgd(learning_rate=-0.1), "optimizer/learning_rate", "above 0"),
        (sgd(learning_rate=1001), "optimizer/learning_rate", "at most 1000"),
        (sgd(momentum=1), "optimizer/momentum", "a number at least 0 and below 1; got 1"),
        (sgd(momentum=-0.1), "optimizer/momentum", "at least 0"),
        (sgd(nesterov="yes"), "optimizer/nesterov", "true or false; got 'yes'"),
        (sgd(weight_decay=-1), "optimizer/weight_decay", "at least 0"),
        (sgd(weight_decay=1001), "optimizer/weight_decay", "at most 1000"),
        ({"optimizer": {"learning_rate": 0.1}}, "optimizer", """an object with a "type"; got {'learning_rate': 0.1}"""),
        ({"optimizer": {"type": "rmsprop", "rho": 1}}, "optimizer/rho", "below 1; got 1"),
        ({"optimizer": {"type": "adam", "beta1": 1}}, "optimizer/beta1", "below 1; got 1"),
        ({"optimizer": {"type": "adamw", "beta2": -0.1}}, "optimizer/beta2", "at least 0"),
        ({"optimizer": {"type": "adam", "epsilon": 0}}, "optimizer/epsilon", "above 0"),
        ({"schedule": "cosine"}, "schedule", "an object with a"),
        ({"schedule": {"type": "step", "every": 0}}, "schedule/every", "at least 1"),
        ({"schedule": {"type": "step", "factor": 0}}, "schedule/factor", "above 0"),
        ({"schedule": {"type": "exponential", "factor": 1.1}}, "schedule/factor", "at most 1"),
        ({"schedule": {"type": "cosine", "warm_up": 1}}, "schedule/warm_up", "below 1"),
        ({"schedule": {"type": "cosine", "final": 1.1}}, "schedule/final", "at most 1"),
        ({"schedule": {"type": "one_cycle", "rise": 0}}, "schedule/rise", "above 0"),
        ({"schedule": {"type": "one_cycle", "initial": 0}}, "schedule/initial", "above 0"),
        ({"schedule": {"type": "reduce_on_plateau", "patience": 0}}, "schedule/patience", "at least 1"),
        ({"schedule": {"type": "reduce_on_plateau", "factor": 1}}, "schedule/factor", "below 1"),
        ({"clip_norm": 0}, "clip_norm", "a number above 0; got 0"),
        ({"clip_norm": True}, "clip_norm", "a number above 0; got true"),
        ({"label_smoothing": 1}, "label_smoothing", "below 1; got 1"),
        ({"label_smoothing": -0.1}, "label_smoothing", "at least 0"),
        ({"class_weights": []}, "class_weights", "1 to 10000 items; got 0"),
        ({"class_weights": {"0": 1}}, "class_weights", "a list; got {'0': 1}"),
        ({"class_weights": [1, -1]}, "class_weights/1", "at least 0 and at most 1000000; got -1"),
        ({"class_weights": [1, float("inf")]}, "class_weights/1", "finite"),
        ({"augmentation": True}, "augmentation", "an object; got true"),
        ({"augmentation": {"shift": -1}}, "augmentation/shift", "at least 0"),
        ({"augmentation": {"rotation": 181}}, "augmentation/rotation", "at most 180"),
        ({"augmentation": {"scale": 1}}, "augmentation/scale", "at most 0.9"),
        ({"augmentation": {"shear": 61}}, "augmentation/shear", "at most 60"),
        ({"augmentation": {"elastic": 101}}, "augmentation/elastic", "at most 100"),
        ({"augmentation": {"smoothness": 0}}, "augmentation/smoothness", "above 0"),
        ({"early_stopping": {"patience": 0}}, "early_stopping/patience", "at least 1"),
        ({"early_stopping": {"min_delta": -1}}, "early_stopping/min_delta", "at least 0"),
        ({"loss": "hinge"}, "loss", "one of mean_squared_error, mean_absolute_error, huber, cross_entropy, binary_cro"),
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


@pytest.mark.parametrize(
    ("layer", "pointer", "detail"),
    [
        ({"type": "conv2d"}, "filters", "missing; expected a whole number at least 1 and at most 4096"),
        ({"type": "conv2d", "filters": 0}, "filters", "at least 1"),
        ({"type": "conv2d", "filters": 4097}, "filters", "at most 4096"),
        ({"type": "conv2d", "filters": 8.0}, "filters", "a whole number"),
        ({"type": "conv2d", "filters": 8, "kernel_size": 0}, "kernel_size", "at least 1"),
        ({"type": "conv2d", "filters": 8, "kernel_size": [3, 3]}, "kernel_size", "a whole number"),
        ({"type": "conv2d", "filters": 8, "kernel_size": 65}, "kernel_size", "at most 64"),
        ({"type": "conv2d", "filters": 8, "stride": 0}, "stride", "at least 1"),
        ({"type": "conv2d", "filters": 8, "padding": "full"}, "padding", "one of valid, same; got 'full'"),
        ({"type": "conv2d", "filters": 8, "initializer": "zeros"}, "initializer", "one of he, xavier"),
        ({"type": "conv2d", "filters": 8, "units": 8}, "units", "unknown field; the fields here are type, filters"),
        ({"type": "max_pool2d", "pool_size": 0}, "pool_size", "at least 1"),
        ({"type": "max_pool2d", "size": 2}, "size", "unknown field; the fields here are type, pool_size, stride"),
        ({"type": "average_pool2d", "stride": 0}, "stride", "at least 1"),
        ({"type": "flatten", "pool_size": 2}, "pool_size", "unknown field; the fields here are type"),
        ({"type": "dropout"}, "rate", "missing; expected a number at least 0 and at most 0.99"),
        ({"type": "dropout", "rate": 1}, "rate", "at most 0.99; got 1"),
        ({"type": "dropout", "rate": 0.999999999}, "rate", "at most 0.99"),
        ({"type": "dropout", "rate": -0.1}, "rate", "at least 0"),
        ({"type": "batch_norm", "momentum": 1}, "momentum", "below 1"),
        ({"type": "batch_norm", "epsilon": 0}, "epsilon", "above 0"),
        ({"type": "gelu", "approximate": True}, "approximate", "unknown field; the fields here are type"),
    ],
    ids=str,
)
def test_a_layer_refuses_what_is_out_of_range(layer: dict[str, Any], pointer: str, detail: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(NetworkSpec, {"layers": [{"type": "relu"}, layer]})
    (problem,) = caught.value.problems
    assert problem.pointer == f"#/layers/1/{pointer}"
    assert detail in problem.detail


def test_nesterov_without_momentum_is_refused_with_the_remedy() -> None:
    with pytest.raises(SpecError, match="#/optimizer: nesterov is a way to use momentum, and momentum is 0; set a mom"):
        parse(TrainingSpec, LOSS | sgd(nesterov=True))


@pytest.mark.parametrize("n_layers", [1, 64])
def test_a_network_has_1_to_64_layers(n_layers: int) -> None:
    assert len(parse(NetworkSpec, {"layers": [{"type": "relu"}] * n_layers}).layers) == n_layers
    with pytest.raises(SpecError, match="#/layers: expected 1 to 64 items; got"):
        parse(NetworkSpec, {"layers": [{"type": "relu"}] * (65 if n_layers == 64 else 0)})


def test_the_json_schema_lists_names_and_ranges() -> None:
    network, training = json_schema(NetworkSpec), json_schema(TrainingSpec)
    layers = {
        name: layer
        for layer in network["properties"]["layers"]["items"]["anyOf"]
        for name in layer["properties"]["type"]["enum"]
    }
    assert list(layers) == LAYER_NAMES
    assert all(layer["required"][0] == "type" for layer in layers.values())
    assert layers["dense"]["properties"]["units"] == {"type": "integer", "minimum": 1, "maximum": 1_000_000}
    assert layers["relu"]["properties"]["type"]["enum"] == list(get_args(ActivationName))
    assert layers["conv2d"]["properties"]["padding"] == {
        "type": "string",
        "enum": ["valid", "same"],
        "default": "valid",
    }
    assert layers["max_pool2d"]["properties"]["stride"] == {
        "anyOf": [{"type": "integer", "minimum": 1, "maximum": 64}, {"type": "null"}],
        "default": None,
    }
    assert layers["dropout"]["properties"]["rate"] == {"type": "number", "minimum": 0, "maximum": 0.99}
    assert training["required"] == ["loss"]
    assert training["properties"]["epochs"] == {"type": "integer", "minimum": 1, "maximum": 100_000, "default": 10}
    optimizers = {
        choice["properties"]["type"]["enum"][0]: choice for choice in training["properties"]["optimizer"]["anyOf"]
    }
    assert list(optimizers) == ["sgd", "rmsprop", "adam", "adamw"]
    assert optimizers["sgd"]["properties"]["learning_rate"] == {
        "type": "number",
        "exclusiveMinimum": 0,
        "maximum": 1000,
        "default": 0.01,
    }
    assert training["properties"]["optimizer"]["default"] == to_json(SGDSpec())
