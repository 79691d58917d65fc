from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nn
from nn import ArtifactError, datasets
from nn.weights import with_weights
from tests.nn.support import layers

Arrays = dict[str, NDArray[Any]]


@pytest.fixture(scope="module")
def trained() -> nn.Model:
    return nn.train(nn.complete("heart", training={"epochs": 2, "seed": 5}))[0]


def arrays_of(model: nn.Model) -> Arrays:
    return {name: array.copy() for name, array in model.network.arrays.items()}


class TestRoundTrip:
    @pytest.mark.parametrize("name", datasets.DATASETS)
    def test_the_weights_of_a_run_give_its_model(self, name: str) -> None:
        layer = {"mnist": (4, 10), "heart": (4, 1), "toy-regression": (4, 1)}[name]
        network = nn.NetworkSpec(layers=layers(layer[0], "tanh", "batch_norm", layer[1]))
        run = nn.complete(name, training={"epochs": 1, "seed": 5, "batch_size": 1000})
        model, _ = nn.train(replace(run, network=network))
        again = with_weights(model.metadata.spec, arrays_of(model))
        for own, array in model.network.arrays.items():
            np.testing.assert_array_equal(again.network.arrays[own], array)
        expected = {key: value for key, value in model.metadata.metrics.items() if key.startswith("test_")}
        assert again.metadata == replace(model.metadata, metrics=expected)
        inputs = datasets.get(name).load().inputs[:50]
        np.testing.assert_array_equal(again.predict(inputs), model.predict(inputs))
        assert nn.dumps(nn.loads(nn.dumps(again))) == nn.dumps(again)

    @pytest.mark.parametrize("dtype", ["float16", "float64"])
    def test_numbers_become_those_of_the_network(self, dtype: str, trained: nn.Model) -> None:
        given = {name: array.astype(dtype) for name, array in arrays_of(trained).items()}
        again = with_weights(trained.metadata.spec, given)
        for name, array in again.network.arrays.items():
            assert array.dtype == np.float32
            np.testing.assert_array_equal(array, given[name].astype(np.float32))

    def test_they_are_copied(self, trained: nn.Model) -> None:
        given = arrays_of(trained)
        again = with_weights(trained.metadata.spec, given)
        before = again.predict(datasets.get("heart").load().inputs)
        given["layers.0.weight"][...] = 0
        np.testing.assert_array_equal(again.predict(datasets.get("heart").load().inputs), before)


class TestRefused:
    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda given: given.clear(), r"missing layers\.0\.weight \(23, 8\), .*layers\.2\.bias \(1,\)$"),
            (lambda given: given.pop("layers.2.bias"), r"missing layers\.2\.bias \(1,\)$"),
            (lambda given: given.update(other=np.zeros(3)), "not known other$"),
            (lambda given: given.update({f"x{i}": np.zeros(3) for i in range(9)}), "x4 and 4 more$"),
            (
                lambda given: given.update({"layers.0.weight": given["layers.0.weight"].T}),
                r"layers\.0\.weight: expected shape \(23, 8\); got \(8, 23\); a dense weight is \(inputs, units\)",
            ),
            (lambda given: given["layers.0.bias"].fill(np.nan), "layers.0.bias holds numbers that are not finite"),
            (
                lambda given: given.update({"layers.0.bias": np.full(8, 1e300)}),
                "layers.0.bias holds numbers that are not finite",
            ),
            (lambda given: given["layers.0.weight"].fill(3e38), "test split is not a finite number"),
        ],
    )
    def test_what_cannot_be_the_weights(self, spoil: Callable[[Arrays], object], said: str, trained: nn.Model) -> None:
        given = arrays_of(trained)
        spoil(given)
        with pytest.raises(ArtifactError, match=said):
            with_weights(trained.metadata.spec, given)

    def test_a_variance_below_0(self) -> None:
        network = nn.NetworkSpec(layers=layers(4, "batch_norm", 1))
        model, _ = nn.train(replace(nn.complete("heart", training={"epochs": 1}), network=network))
        given = arrays_of(model)
        given["layers.1.variance"][2] = -0.1
        with pytest.raises(ArtifactError, match="variances below 0"):
            with_weights(model.metadata.spec, given)
