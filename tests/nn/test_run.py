from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nn import DivergedError, NNError, RunSpec, SpecError, complete, datasets, dumps, loads, run, train
from nn.datasets import DATASETS, Dataset, Table
from nn.errors import Problem
from nn.features import TableFeatures
from nn.schema import to_json
from nn.spec import SGDSpec
from nn.version import __version__

MNIST_ENDING = "dense with 10 units, alone or followed by softmax"
HEART_ENDING = "dense with 1 unit, alone or followed by sigmoid"


def stack(*shorthand: int | str) -> dict[str, Any]:
    """`stack(8, "relu", 1)`: the JSON of a network, a number for a dense layer, a word for an activation."""
    return {
        "layers": [{"type": "dense", "units": item} if isinstance(item, int) else {"type": item} for item in shorthand]
    }


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
        assert complete("heart").training.optimizer.momentum != 0

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
            (stack("swish", 10), "layers/0/type", "expected one of dense, relu, tanh, sigmoid, softmax, identity"),
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
            (
                {"layers": [{"type": "relu", "units": 10}]},
                "layers/0/units",
                "unknown field; the fields here are type",
            ),
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
            ({"optimizer": {"type": "adamant"}}, "/optimizer/type", "expected one of sgd; got 'adamant'"),
            ({"optimizer": "sgd"}, "/optimizer", "expected an object; got 'sgd'"),
            ({"optimizer": {"rate": 1}}, "/optimizer/rate", "unknown field; the fields here are type, learning_rate"),
            ({"epoch": 1}, "/epoch", "unknown field; the fields here are loss, epochs, batch_size, seed"),
            ({"loss": "mse"}, "/loss", "expected one of mean_squared_error, cross_entropy, binary_cross_entropy"),
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
            ("toy-regression", "cross_entropy", "mean_squared_error"),
            ("toy-regression", "binary_cross_entropy", "mean_squared_error"),
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
            ("mnist", stack("relu"), 0, f"has no dense layer to train; expected it to end in {MNIST_ENDING}"),
            ("mnist", stack("softmax"), 0, "has no dense layer to train"),
            ("heart", stack(2), 0, f"gives 2 outputs and heart needs 1; expected {HEART_ENDING}"),
            ("heart", stack(1, "relu"), 1, f"takes logits; expected {HEART_ENDING}"),
            ("heart", stack(1, "softmax"), 1, f"takes logits; expected {HEART_ENDING}"),
            ("toy-regression", stack(16, "relu", 2), 2, "gives 2 outputs and toy-regression needs 1"),
            ("toy-regression", stack("identity"), 0, "has no dense layer to train"),
            ("toy-regression", stack(4, 1, "softmax"), 2, "a regression cannot end in softmax"),
        ],
        ids=str,
    )
    def test_a_last_layer_that_does_not_fit(
        self, dataset: str, network: dict[str, Any], pointer: int, detail: str
    ) -> None:
        (problem,) = problems(dataset, network)
        assert problem.pointer == f"#/network/layers/{pointer}"
        assert detail in problem.detail

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


SHORT = {
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

        def stop_at_20(step: int) -> bool:
            steps.append(step)
            return step == 20

        _, result = train(SHORT["heart"], on_epoch=lambda epoch: epochs.append(epoch.epoch), should_stop=stop_at_20)
        assert result.stopped
        assert epochs == [1]
        assert steps == list(range(21))

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
