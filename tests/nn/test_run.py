from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nn import DivergedError, NNError, RunSpec, SpecError, complete, datasets, dumps, loads, run, train
from nn.datasets import DATASETS, Dataset, Table
from nn.errors import Problem
from nn.features import TableFeatures
from nn.network import LAYERS
from nn.schema import to_json
from nn.spec import AdamSpec, AugmentationSpec, CosineSpec, SGDSpec
from nn.version import __version__

MNIST_ENDING = "dense with 10 units, alone or followed by softmax"
HEART_ENDING = "dense with 1 unit, alone or followed by sigmoid"


def stack(*shorthand: int | str | dict[str, Any]) -> dict[str, Any]:
    """`stack(conv(4), "relu", "flatten", 1)`: the JSON of a network, a number for a dense layer, a word for a type."""

    def layer(item: int | str | dict[str, Any]) -> dict[str, Any]:
        if isinstance(item, dict):
            return item
        return {"type": "dense", "units": item} if isinstance(item, int) else {"type": item}

    return {"layers": [layer(item) for item in shorthand]}


def conv(filters: int, **fields: object) -> dict[str, Any]:
    return {"type": "conv2d", "filters": filters, **fields}


def pool(pool_size: int) -> dict[str, Any]:
    return {"type": "max_pool2d", "pool_size": pool_size}


def problems(
    dataset: str, network: object = None, training: object = None, memory_limit: int = run.DEFAULT_MEMORY_LIMIT
) -> list[Problem]:
    with pytest.raises(SpecError) as caught:
        complete(dataset, network, training, memory_limit)
    return list(caught.value.problems)


def split_of(spec: RunSpec) -> tuple[run.Rows, run.Rows, run.Rows]:
    return run.split(datasets.get(spec.dataset), spec.training, np.random.default_rng(spec.training.seed))


def replace_dataset(monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[Table], None]) -> None:
    """The data set `name` with other data from now on; `change` may write into the arrays."""
    described = DATASETS[name]

    def load() -> Table:
        table = described.load()
        table = Table(table.inputs.copy(), table.targets.copy())
        change(table)
        return table

    monkeypatch.setitem(DATASETS, name, replace(described, load=load))


class TestComplete:
    @pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
    def test_a_name_is_enough(self, dataset: Dataset) -> None:
        assert complete(dataset.name) == RunSpec(
            dataset=dataset.name, network=dataset.network, training=dataset.training
        )

    def test_a_name_may_have_underscores(self) -> None:
        assert complete("toy_regression") == complete("toy-regression")

    def test_what_is_whole_already_stays_as_it_is(self) -> None:
        whole = complete("heart", stack(4, "tanh", 1), {"epochs": 3, "early_stopping": None})
        written = json.loads(json.dumps(to_json(whole)))
        assert complete(written["dataset"], written["network"], written["training"]) == whole

    def test_fields_of_the_training_replace_the_data_set_s_one_by_one(self) -> None:
        defaults = complete("heart").training
        chosen = complete("heart", None, {"epochs": 3, "optimizer": {"learning_rate": 0.5}}).training
        assert chosen == replace(defaults, epochs=3, optimizer=replace(defaults.optimizer, learning_rate=0.5))

    def test_an_optimizer_with_a_type_is_described_anew(self) -> None:
        chosen = complete("heart", None, {"optimizer": {"type": "sgd", "learning_rate": 0.5}}).training
        assert chosen.optimizer == SGDSpec(learning_rate=0.5)
        default = complete("heart").training.optimizer
        assert isinstance(default, SGDSpec)
        assert default.momentum != 0
        assert complete("heart", None, {"optimizer": {"type": "adam"}}).training.optimizer == AdamSpec()

    def test_what_is_new_is_filled_in_with_its_own_defaults(self) -> None:
        training = {
            "schedule": {"type": "cosine"},
            "augmentation": {"shift": 2},
            "label_smoothing": 0.1,
            "class_weights": [1] * 10,
            "clip_norm": 1,
        }
        layers: list[Any] = [conv(8), "batch_norm", "gelu", "max_pool2d", "global_average_pool2d", 10]
        whole = complete("mnist", stack(*layers), training)
        assert to_json(whole.network)["layers"] == [
            conv(8, kernel_size=3, stride=1, padding="valid", initializer="he"),
            {"type": "batch_norm", "momentum": 0.9, "epsilon": 1e-5},
            {"type": "gelu"},
            {"type": "max_pool2d", "pool_size": 2, "stride": None},
            {"type": "global_average_pool2d"},
            {"type": "dense", "units": 10, "initializer": "he"},
        ]
        assert whole.training == replace(
            complete("mnist").training,
            schedule=CosineSpec(),
            augmentation=AugmentationSpec(shift=2),
            label_smoothing=0.1,
            class_weights=(1.0,) * 10,
            clip_norm=1,
        )
        written = json.loads(json.dumps(to_json(whole)))
        assert complete(written["dataset"], written["network"], written["training"]) == whole

    def test_the_network_replaces_the_data_set_s_as_a_whole(self) -> None:
        assert len(complete("mnist", stack(10)).network.layers) == 1

    def test_without_validation_the_default_early_stopping_goes_too(self) -> None:
        assert complete("heart").training.early_stopping is not None
        assert complete("heart", None, {"validation_fraction": 0}).training.early_stopping is None

    @pytest.mark.parametrize(
        ("dataset", "network"),
        [
            ("mnist", stack(10)),
            ("mnist", stack(10, "softmax")),
            ("mnist", stack("relu", 5, "softmax", 10, "softmax")),
            ("heart", stack(8, "relu", 1)),
            ("heart", stack(8, "relu", 1, "sigmoid")),
            ("toy-regression", stack(1)),
            ("toy-regression", stack(1, "identity")),
            ("toy-regression", stack(4, 1, "sigmoid")),
            ("toy-regression", stack(4, 1, "softplus")),
            ("mnist", stack(conv(10), "global_average_pool2d")),
            ("mnist", stack(conv(4), "relu", "flatten", {"type": "dropout", "rate": 0.5}, 10, "softmax")),
            ("mnist", stack("max_pool2d", "flatten", 10)),
            ("mnist", stack("flatten", 10)),
            ("mnist", stack(conv(4, kernel_size=28), "flatten", 10)),
        ],
        ids=str,
    )
    def test_the_output_function_may_be_said_or_not(self, dataset: str, network: dict[str, Any]) -> None:
        complete(dataset, network)

    def test_a_binary_task_may_be_told_as_two_classes(self) -> None:
        complete("heart", stack(2), {"loss": "cross_entropy"})


class TestRefused:
    """Every description that cannot be carried out, with its place and its reason."""

    @pytest.mark.parametrize("name", ["cifar", "", "../mnist", "MNIST", "x" * 1000])
    def test_an_unknown_data_set(self, name: str) -> None:
        (problem,) = problems(name)
        assert problem.pointer == "#/dataset"
        assert problem.detail == f"no data set {name[:60]!r}; there are mnist, heart, toy-regression"

    @pytest.mark.parametrize(
        ("network", "pointer", "detail"),
        [
            (stack("swish", 10), "layers/0/type", "; got 'swish'"),
            ({"layers": []}, "layers", "expected 1 to 64 items; got 0"),
            ({}, "layers", "missing; expected a list"),
            ({"layers": "dense"}, "layers", "expected a list; got 'dense'"),
            ({"layers": [10]}, "layers/0", 'expected an object with a "type"; got 10'),
            ([], "", "expected an object; got []"),
            (stack(10) | {"layer": 1}, "layer", "unknown field; the fields here are layers, dtype"),
            (stack(10) | {"dtype": "float16"}, "dtype", "expected one of float32, float64; got 'float16'"),
            ({"layers": [{"type": "dense"}]}, "layers/0/units", "missing; expected a whole number at least 1"),
            (
                {"layers": [{"type": "dense", "units": 10, "unit": 1}]},
                "layers/0/unit",
                "unknown field; the fields here are type, units, initializer",
            ),
            ({"layers": [{"type": "relu", "units": 10}]}, "layers/0/units", "unknown field; the fields here are type"),
            (
                {"layers": [{"type": "dense", "units": 10, "initializer": "zeros"}]},
                "layers/0/initializer",
                "expected one of he, xavier, standard_normal; got 'zeros'",
            ),
        ],
        ids=str,
    )
    def test_an_unknown_or_missing_part_of_the_network(self, network: object, pointer: str, detail: str) -> None:
        (problem,) = problems("mnist", network)
        assert problem.pointer == f"#/network/{pointer}".rstrip("/")
        assert detail in problem.detail

    def test_an_unknown_layer_is_answered_with_all_that_there_are(self) -> None:
        (problem,) = problems("mnist", stack(conv(4), "transformer", 10))
        assert problem.pointer == "#/network/layers/1/type"
        listed = problem.detail.removeprefix("expected one of ").removesuffix("; got 'transformer'")
        assert set(listed.split(", ")) == set(LAYERS)

    @pytest.mark.parametrize(
        "units", [0, -1, 1.5, 10.0, True, "10", None, [10], {}, math.nan, math.inf, 10**7, 10**400], ids=repr
    )
    def test_units_that_are_no_number_of_units(self, units: object) -> None:
        (problem,) = problems("mnist", {"layers": [{"type": "dense", "units": units}]})
        assert problem.pointer == "#/network/layers/0/units"
        assert problem.detail.startswith("expected a whole number at least 1 and at most 1000000; got ")

    @pytest.mark.parametrize("field", ["epochs", "batch_size", "seed"])
    @pytest.mark.parametrize("value", [-1, 0.5, 3.0, True, "3", None, math.nan, math.inf, 10**400], ids=repr)
    def test_counts_that_are_none(self, field: str, value: object) -> None:
        (problem,) = problems("mnist", None, {field: value})
        assert problem.pointer == f"#/training/{field}"
        assert problem.detail.startswith("expected a whole number at least ")

    @pytest.mark.parametrize("field", ["epochs", "batch_size"])
    def test_counts_of_zero(self, field: str) -> None:
        (problem,) = problems("mnist", None, {field: 0})
        assert problem.pointer == f"#/training/{field}"
        assert problem.detail.endswith("; got 0")

    @pytest.mark.parametrize("rate", [0, -0.1, True, "0.1", None, math.nan, math.inf, 1e400, 10**400, 1e6], ids=repr)
    def test_rates_that_are_none(self, rate: object) -> None:
        (problem,) = problems("mnist", None, {"optimizer": {"type": "sgd", "learning_rate": rate}})
        assert problem.pointer == "#/training/optimizer/learning_rate"
        assert problem.detail.startswith("expected a number above 0 and at most 1000")

    @pytest.mark.parametrize(
        ("training", "pointer", "detail"),
        [
            ({"optimizer": {"type": "adamant"}}, "/optimizer/type", "of sgd, rmsprop, adam, adamw; got 'adamant'"),
            ({"optimizer": "sgd"}, "/optimizer", "expected an object with a \"type\"; got 'sgd'"),
            (
                {"optimizer": {"beta1": 0.5}},
                "/optimizer/beta1",
                "unknown field; the fields here are type, learning_rate",
            ),
            ({"optimizer": {"nesterov": True}}, "/optimizer", "momentum is 0; set a momentum, 0.9 for instance"),
            ({"schedule": {"type": "linear"}}, "/schedule/type", "expected one of constant, step, exponential, cosine"),
            ({"schedule": {"every": 3}}, "/schedule", "expected an object with a \"type\"; got {'every': 3}"),
            ({"schedule": None}, "/schedule", 'expected an object with a "type"; got null'),
            ({"augmentation": {"zoom": 1}}, "/augmentation/zoom", "the fields here are shift, rotation, scale, shear"),
            ({"label_smoothing": None}, "/label_smoothing", "expected a number at least 0 and below 1; got null"),
            ({"clip_norm": 0}, "/clip_norm", "expected a number above 0; got 0"),
            ({"class_weights": {"7": 2}}, "/class_weights", "expected a list; got {'7': 2}"),
            ({"optimizer": {"rate": 1}}, "/optimizer/rate", "unknown field; the fields here are type, learning_rate"),
            ({"epoch": 1}, "/epoch", "unknown field; the fields here are loss, epochs, batch_size, seed"),
            ({"loss": "mse"}, "/loss", "expected one of mean_squared_error, mean_absolute_error, huber, cross"),
            ({"validation_fraction": 1}, "/validation_fraction", "expected a number at least 0 and at most 0.9; got 1"),
            ({"validation_fraction": "0.1"}, "/validation_fraction", "expected a number"),
            ({"early_stopping": True}, "/early_stopping", "expected an object; got true"),
            ([], "", "expected an object; got []"),
            ("fast", "", "expected an object; got 'fast'"),
        ],
        ids=str,
    )
    def test_an_unknown_part_of_the_training(self, training: object, pointer: str, detail: str) -> None:
        (problem,) = problems("mnist", None, training)
        assert problem.pointer == f"#/training{pointer}"
        assert detail in problem.detail

    def test_network_and_training_are_told_together(self) -> None:
        found = problems("mnist", stack(0), {"epochs": 0, "batch_size": 0})
        assert [problem.pointer for problem in found] == [
            "#/network/layers/0/units",
            "#/training/epochs",
            "#/training/batch_size",
        ]

    def test_early_stopping_with_nothing_to_watch(self) -> None:
        (problem,) = problems("mnist", None, {"validation_fraction": 0, "early_stopping": {"patience": 3}})
        assert problem.pointer == "#/training/early_stopping"
        assert "early stopping watches the validation loss, and validation_fraction is 0" in problem.detail

    def test_a_validation_split_of_no_sample(self) -> None:
        (problem,) = problems("heart", None, {"validation_fraction": 0.001})
        assert problem.pointer == "#/training/validation_fraction"
        assert "0.001 of the data set is less than one sample" in problem.detail

    @pytest.mark.parametrize(
        ("dataset", "loss", "fitting"),
        [
            ("mnist", "mean_squared_error", "cross_entropy"),
            ("mnist", "binary_cross_entropy", "cross_entropy"),
            ("heart", "mean_squared_error", "cross_entropy, binary_cross_entropy"),
            ("heart", "huber", "cross_entropy, binary_cross_entropy"),
            ("toy-regression", "cross_entropy", "mean_squared_error, mean_absolute_error, huber"),
            ("toy-regression", "binary_cross_entropy", "mean_squared_error, mean_absolute_error, huber"),
        ],
    )
    def test_a_loss_that_does_not_fit_the_task(self, dataset: str, loss: str, fitting: str) -> None:
        (problem,) = problems(dataset, None, {"loss": loss})
        assert problem.pointer == "#/training/loss"
        assert problem.detail.startswith(f"{loss} does not fit the task of {dataset}, a ")
        assert problem.detail.endswith(f"; expected one of {fitting}")

    @pytest.mark.parametrize(
        ("dataset", "network", "pointer", "detail"),
        [
            ("mnist", stack(64, "relu", 5), 2, f"gives 5 outputs and mnist needs 10; expected {MNIST_ENDING}"),
            ("mnist", stack(5, "softmax"), 1, f"gives 5 outputs and mnist needs 10; expected {MNIST_ENDING}"),
            ("mnist", stack(10, "sigmoid"), 1, "does not fit cross_entropy, which takes logits"),
            ("mnist", stack(10, "softmax", "softmax"), 2, "does not fit cross_entropy, which takes logits"),
            ("mnist", stack("relu"), 0, f"has no layer to train; expected it to end in {MNIST_ENDING}"),
            ("mnist", stack("softmax"), 0, "has no layer to train"),
            ("heart", stack(2), 0, f"gives 2 outputs and heart needs 1; expected {HEART_ENDING}"),
            ("heart", stack(1, "relu"), 1, f"takes logits; expected {HEART_ENDING}"),
            ("heart", stack(1, "softmax"), 1, f"takes logits; expected {HEART_ENDING}"),
            ("toy-regression", stack(16, "relu", 2), 2, "gives 2 outputs and toy-regression needs 1"),
            ("toy-regression", stack("identity"), 0, "has no layer to train"),
            ("toy-regression", stack(4, 1, "softmax"), 2, "a regression cannot end in softmax"),
            ("mnist", stack(conv(10)), 0, "gives pictures 26 × 26 × 10; put flatten or global_average_pool2d"),
            ("mnist", stack(conv(4), "relu", pool(2)), 2, "gives pictures 13 × 13 × 4; put flatten or"),
            ("mnist", stack(conv(4), "flatten"), 1, "gives 2704 outputs and mnist needs 10"),
            ("mnist", stack(conv(4), 10), 1, "dense takes rows of numbers; what comes in are pictures 26 × 26 × 4"),
            ("mnist", stack(conv(4), "softmax", "flatten", 10), 1, "softmax takes rows of numbers"),
            ("mnist", stack(conv(4), "flatten", 10, "gelu"), 3, "does not fit cross_entropy, which takes logits"),
            ("mnist", stack(16, conv(4), "flatten", 10), 0, "put flatten or global_average_pool2d before it"),
            ("mnist", stack("flatten", 16, conv(4), 10), 2, "conv2d takes pictures (height × width × channels)"),
            ("mnist", stack(conv(4), "flatten", "flatten", 10), 2, "flatten takes pictures"),
            ("mnist", stack("flatten", "max_pool2d", 10), 1, "max_pool2d takes pictures"),
            ("heart", stack(conv(4), "flatten", 1), 0, "conv2d takes pictures (height × width × channels)"),
            ("heart", stack("global_average_pool2d", 1), 0, "what comes in are rows of 23 numbers; leave it out"),
            ("toy-regression", stack("average_pool2d", 1), 0, "average_pool2d takes pictures"),
        ],
        ids=str,
    )
    def test_a_last_layer_that_does_not_fit(
        self, dataset: str, network: dict[str, Any], pointer: int, detail: str
    ) -> None:
        (problem,) = problems(dataset, network)
        assert problem.pointer == f"#/network/layers/{pointer}"
        assert detail in problem.detail

    @pytest.mark.parametrize(
        ("network", "pointer", "detail"),
        [
            (stack(conv(4, kernel_size=29), "flatten", 10), "0/kernel_size", "a kernel of 29 × 29 does not fit into"),
            (stack(pool(20), conv(4, kernel_size=2), "flatten", 10), "1/kernel_size", "take a smaller one, or padding"),
            (stack(pool(15), pool(2), "flatten", 10), "1/pool_size", "does not fit into pictures of 1 × 1; take less"),
        ],
        ids=["kernel", "kernel behind a pool", "field"],
    )
    def test_a_kernel_or_a_field_that_does_not_fit_is_named_itself(
        self, network: dict[str, Any], pointer: str, detail: str
    ) -> None:
        (problem,) = problems("mnist", network)
        assert problem.pointer == f"#/network/layers/{pointer}"
        assert detail in problem.detail

    @pytest.mark.parametrize(
        ("dataset", "training", "pointer", "detail"),
        [
            (
                "toy-regression",
                {"class_weights": [1]},
                "class_weights",
                "is a regression and has no classes; leave it out",
            ),
            (
                "toy-regression",
                {"class_weights": [1, 2]},
                "class_weights",
                "is a regression and has no classes; leave it",
            ),
            (
                "toy-regression",
                {"label_smoothing": 0.1},
                "label_smoothing",
                "is a regression and has no classes; leave it",
            ),
            ("toy-regression", {"augmentation": {}}, "augmentation", "toy-regression has none; leave it out"),
            (
                "heart",
                {"augmentation": {"shift": 1}},
                "augmentation",
                "distorts pictures, and heart has none; leave it out",
            ),
            ("heart", {"class_weights": [1]}, "class_weights", "for each of the 2 labels 0, 1; got 1"),
            ("heart", {"class_weights": [1, 2, 3]}, "class_weights", "for each of the 2 labels 0, 1; got 3"),
            ("heart", {"class_weights": [0, 0]}, "class_weights", "expected a weight, not all of them 0, for each"),
            ("mnist", {"class_weights": [1] * 9}, "class_weights", "10 labels 0, 1, 2, 3, 4, 5, 6, 7, 8, 9; got 9"),
            ("mnist", {"class_weights": [0.0] * 10}, "class_weights", "not all of them 0"),
        ],
        ids=str,
    )
    def test_what_changes_samples_or_labels_that_the_data_do_not_have(
        self, dataset: str, training: dict[str, Any], pointer: str, detail: str
    ) -> None:
        (problem,) = problems(dataset, None, training)
        assert problem.pointer == f"#/training/{pointer}"
        assert detail in problem.detail

    def test_label_smoothing_of_0_and_no_class_weights_are_nothing(self) -> None:
        nothing = {"label_smoothing": 0, "class_weights": None, "augmentation": None}
        assert complete("toy-regression", None, nothing) == complete("toy-regression")

    @pytest.mark.parametrize(
        "network",
        [
            stack(conv(4096, kernel_size=64, padding="same"), "flatten", 10),
            stack(*[conv(4096, padding="same")] * 60, "global_average_pool2d", 10),
            stack("flatten", 1_000_000, "batch_norm", 10),
        ],
        ids=["kernels", "depth", "units"],
    )
    def test_a_network_for_pictures_over_the_memory_limit(self, network: dict[str, Any]) -> None:
        (problem,) = problems("mnist", network)
        assert problem.pointer == "#/network"
        assert "and the limit is 1,024 MiB" in problem.detail

    def test_a_network_over_the_memory_limit(self) -> None:
        huge = stack(1_000_000, 1_000_000, 10)
        (problem,) = problems("mnist", huge)
        assert problem.pointer == "#/network"
        assert "MiB, and the limit is 1,024 MiB; take fewer units or a smaller batch" in problem.detail
        complete("mnist", huge, memory_limit=2**50)

    def test_the_memory_limit_counts_the_batch(self) -> None:
        network = stack(64, "relu", 10)
        complete("mnist", network, {"batch_size": 16}, memory_limit=2**26)
        assert problems("mnist", network, {"batch_size": 65_536}, memory_limit=2**26)[0].pointer == "#/network"


class TestSplit:
    @pytest.mark.parametrize("name", DATASETS)
    def test_every_sample_has_one_place(self, name: str) -> None:
        dataset = datasets.get(name)
        parts = run.split(dataset, dataset.training, np.random.default_rng(1))
        assert all(len(part) for part in parts)
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(dataset.n_samples))

    def test_mnist_keeps_its_own_test_set(self) -> None:
        dataset = datasets.get("mnist")
        spec = complete("mnist", None, {"validation_fraction": 0.1})
        training, validation, test = run.split(dataset, spec.training, np.random.default_rng(1))
        assert (len(training), len(validation), len(test)) == (54_000, 6_000, 10_000)
        assert test.min() == 60_000

    @pytest.mark.parametrize("dataset", DATASETS.values(), ids=DATASETS)
    def test_the_seed_decides(self, dataset: Dataset) -> None:
        one, same, other = (run.split(dataset, dataset.training, np.random.default_rng(seed)) for seed in (1, 1, 2))
        for part, again in zip(one, same, strict=True):
            np.testing.assert_array_equal(part, again)
        drawn = slice(2 if dataset.n_test else 3)
        for part, another in zip(one[drawn], other[drawn], strict=True):
            assert set(part) != set(another)

    def test_without_validation_nothing_is_held_back(self) -> None:
        dataset = datasets.get("heart")
        training = complete("heart", None, {"validation_fraction": 0}).training
        parts = run.split(dataset, training, np.random.default_rng(1))
        assert [len(part) for part in parts] == [242, 0, 61]


SHORT: dict[str, RunSpec] = {
    "heart": complete("heart", None, {"epochs": 3}),
    "toy-regression": complete("toy-regression", None, {"epochs": 2}),
    "heart in float64": complete("heart", stack(4, "tanh", 1) | {"dtype": "float64"}, {"epochs": 2}),
    "heart as two classes": complete("heart", stack(2), {"epochs": 2, "loss": "cross_entropy"}),
}


class TestTrain:
    @pytest.mark.parametrize("spec", SHORT.values(), ids=SHORT)
    def test_the_same_run_gives_the_same_bytes_and_another_seed_others(self, spec: RunSpec) -> None:
        first, second = (dumps(train(spec)[0]) for _ in range(2))
        assert first == second
        other = complete(spec.dataset, to_json(spec.network), to_json(spec.training) | {"seed": 2})
        assert (train(other)[0].network.vector != loads(first).network.vector).any()

    @pytest.mark.parametrize("spec", SHORT.values(), ids=SHORT)
    def test_a_model_tells_where_it_came_from(self, spec: RunSpec) -> None:
        model, result = train(spec)
        metadata = model.metadata
        assert metadata.spec == spec
        assert metadata.task == datasets.get(spec.dataset).task
        assert metadata.dataset_sha256 == datasets.get(spec.dataset).load().sha256()
        assert metadata.library_versions == metadata.library_versions | {
            "trainserve": __version__,
            "numpy": np.__version__,
        }
        kind = ("rmse", "r2") if metadata.task.name == "regression" else ("accuracy",)
        assert set(metadata.metrics) == {
            f"{part}_{name}" for part in ("test", "validation") for name in ("loss", *kind)
        }
        assert [epoch.epoch for epoch in result.epochs] == list(range(1, spec.training.epochs + 1))
        assert model.network.dtype == spec.network.dtype

    @pytest.mark.parametrize("spec", SHORT.values(), ids=SHORT)
    def test_another_process_measures_the_same_on_the_test_split(self, spec: RunSpec) -> None:
        model, _ = train(spec)
        measured = run.test(loads(dumps(model)))
        assert measured == {name: value for name, value in model.metadata.metrics.items() if name.startswith("test_")}

    def test_a_model_is_not_tested_on_other_data(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model, _ = train(SHORT["heart"])
        replace_dataset(monkeypatch, "heart", lambda table: table.targets.put(0, 1 - table.targets[0]))
        with pytest.raises(NNError, match="the data set heart here is not the one that this model was trained on"):
            run.test(model)

    def test_mnist_learns_within_an_epoch(self) -> None:
        method = {"epochs": 1, "batch_size": 128, "validation_fraction": 0.1, "optimizer": {"learning_rate": 0.2}}
        spec = complete("mnist", stack(32, "relu", 10), method)
        started: list[int] = []
        model, result = train(spec, on_start=started.append)
        assert started == [54_000]
        assert result.epochs[0].validation["accuracy"] > 0.88
        assert model.metadata.metrics["test_accuracy"] > 0.88
        example = model.metadata.features.read_array(np.array(model.metadata.example["inputs"]))
        assert model.predict(example).argmax() == 7  # the first picture of the test set

    def test_the_example_is_a_sample_that_the_model_takes(self) -> None:
        model, _ = train(SHORT["heart"])
        (record,) = model.metadata.example["records"]
        features = model.metadata.features
        assert isinstance(features, TableFeatures)
        assert list(record) == [column.name for column in features.columns]
        assert 0 < model.predict(features.read_records([record])).item() < 1

    def test_callbacks_are_those_of_fit(self) -> None:
        epochs: list[int] = []
        steps: list[int] = []

        def stop_in_the_second(step: int) -> bool:
            steps.append(step)
            return step >= 13

        run = complete("heart", None, {"epochs": 3, "batch_size": 16})
        _, result = train(run, on_epoch=lambda epoch: epochs.append(epoch.epoch), should_stop=stop_in_the_second)
        assert result.stopped
        assert epochs == [1]
        assert steps == [0, 13], "206 samples are fetched at once"

    def test_a_resumed_run_tells_its_samples_too(self) -> None:
        kept: list[bytes] = []
        started: list[int] = []
        for resume in (None, 0):
            train(
                SHORT["heart"],
                resume=None if resume is None else kept[resume],
                on_start=started.append,
                on_checkpoint=lambda make: kept.append(make()),
            )
        assert started == [206, 206]

    @pytest.mark.parametrize(("spoilt", "whole"), [("test", "validation"), ("validation", "test")])
    def test_a_part_that_is_held_back_changes_its_own_metrics_alone(
        self, spoilt: str, whole: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever its rows hold: features and weights are of the training split."""
        spec = complete("heart", None, {"epochs": 2, "early_stopping": None})
        model, _ = train(spec)
        _, validation, test = split_of(spec)

        def spoil(table: Table) -> None:
            rows = {"validation": validation, "test": test}[spoilt]
            table.inputs[rows, 0] = 1e6
            table.inputs[rows, 1] = np.nan
            table.targets[rows] = 1

        replace_dataset(monkeypatch, "heart", spoil)
        blind, _ = train(spec)
        assert blind.metadata.features == model.metadata.features
        np.testing.assert_array_equal(blind.network.vector, model.network.vector)
        found, before = blind.metadata.metrics, model.metadata.metrics
        assert found[f"{spoilt}_loss"] != before[f"{spoilt}_loss"]
        assert found[f"{whole}_loss"] == before[f"{whole}_loss"]

    def test_pictures_are_trained_from_the_data_set_s_own_bytes(
        self, few_digits: str, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
    ) -> None:
        """Beside the data set there are buffers; neither split, digest nor any epoch makes a copy of it."""
        table = Table(rng.integers(0, 256, (20_000, 784), np.uint8), rng.integers(0, 10, 20_000))
        described = replace(DATASETS[few_digits], load=lambda: table, n_samples=20_000, n_test=5_000)
        monkeypatch.setitem(DATASETS, few_digits, described)
        table.inputs.flags.writeable = False
        for network in (stack(10), stack(conv(2, stride=4), "flatten", 10)):
            training = {"epochs": 2, "validation_fraction": 0.25, "augmentation": {"shift": 1}}
            run = complete(few_digits, network, training)
            tracemalloc.start()
            try:
                train(run, on_checkpoint=lambda make: make())
                assert tracemalloc.get_traced_memory()[1] < table.inputs.nbytes / 2
            finally:
                tracemalloc.stop()

    def test_class_weights_and_smoothing_are_in_what_is_measured(self) -> None:
        """Twice the weights are twice the loss, of a model that did the same."""
        half = {"epochs": 1, "class_weights": [0.5, 1.5], "optimizer": {"learning_rate": 0.02}}
        whole = {"epochs": 1, "class_weights": [1, 3], "optimizer": {"learning_rate": 0.01}}
        (one, _), (other, _) = (train(complete("heart", None, training)) for training in (half, whole))
        np.testing.assert_allclose(one.network.vector, other.network.vector, rtol=1e-4, atol=1e-6)
        for part in ("test", "validation"):
            found = other.metadata.metrics[f"{part}_loss"]
            assert found == pytest.approx(2 * one.metadata.metrics[f"{part}_loss"], rel=1e-4)
            assert other.metadata.metrics[f"{part}_accuracy"] == one.metadata.metrics[f"{part}_accuracy"]
        assert run.test(other)["test_loss"] == pytest.approx(other.metadata.metrics["test_loss"])

    def test_features_are_fitted_on_the_training_split(self, monkeypatch: pytest.MonkeyPatch) -> None:
        spec = complete("heart", None, {"epochs": 1})
        model, _ = train(spec)
        training, _, _ = split_of(spec)

        def change_one(table: Table) -> None:
            table.inputs[training[0], 0] += 1

        replace_dataset(monkeypatch, "heart", change_one)
        assert train(spec)[0].metadata.features != model.metadata.features


class TestDivergence:
    """Above all with the last step of the last epoch, after which `fit` measures no training sample."""

    @pytest.mark.parametrize("dataset", ["heart", "toy-regression"])
    @pytest.mark.parametrize("epochs", [1, 2, 5])
    @pytest.mark.parametrize("batch_size", [16, 2048])
    @pytest.mark.parametrize("validation_fraction", [0, 0.2])
    @pytest.mark.parametrize("learning_rate", [5, 1000])
    def test_a_run_gives_a_model_or_says_that_it_diverged(
        self, dataset: str, epochs: int, batch_size: int, validation_fraction: float, learning_rate: float
    ) -> None:
        training = {
            "epochs": epochs,
            "batch_size": batch_size,
            "validation_fraction": validation_fraction,
            "early_stopping": None,
            "optimizer": {"learning_rate": learning_rate, "momentum": 0.9},
        }
        diverged_in: int | None = None
        try:
            model, _ = train(complete(dataset, stack(16, "relu", 16, "relu", 1), training))
            loads(dumps(model))
        except DivergedError as error:
            diverged_in = error.epoch
        assert diverged_in in (None, *range(1, epochs + 1))

    def test_statistics_count_though_no_loss_tells_of_them(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is normalised has a finite loss, whatever the running variance; nobody could load such a model."""

        def enlarge(table: Table) -> None:
            np.multiply(table.inputs, 1e25, out=table.inputs)

        replace_dataset(monkeypatch, "toy-regression", enlarge)
        one_step = {"epochs": 1, "batch_size": 2048}
        spec = complete("toy-regression", stack(4, "batch_norm", "tanh", 1), one_step)
        told: list[float] = []
        with pytest.raises(DivergedError, match="epoch 1"):
            train(spec, on_epoch=lambda epoch: told.append(epoch.validation["loss"]))
        assert len(told) == 1
        assert math.isfinite(told[0])

    def test_the_last_step_counts(self) -> None:
        """One step, whose loss is finite; what it makes of the weights is not."""
        training = {
            "epochs": 1,
            "batch_size": 2048,
            "validation_fraction": 0,
            "optimizer": {"learning_rate": 1000},
        }
        network = {
            "layers": [{"type": "dense", "units": 50, "initializer": "standard_normal"}] * 20
            + [{"type": "dense", "units": 1}]
        }
        epochs: list[float] = []
        with pytest.raises(DivergedError, match="epoch 1"):
            train(complete("toy-regression", network, training), on_epoch=lambda e: epochs.append(e.training["loss"]))
        assert len(epochs) == 1
        assert math.isfinite(epochs[0])
