"""Exported models run by onnxruntime, against `Model.predict`."""

from __future__ import annotations

import json
from typing import Any, cast

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from nn import datasets
from nn.activations import ACTIVATIONS
from nn.features import Features, Raw, TableFeatures
from nn.model import Model
from nn.network import LAYERS
from nn.schema import type_names
from nn.spec import BatchNormSpec, DTypeName, LayerSpec, LossName
from service.errors import InvalidInput
from service.exports import onnx as exporter
from service.exports.source import Source
from tests.nn.support import DTYPES, Shorthand, average_pool, conv, max_pool
from tests.service.exports.support import NUMBERS, PIXELS, SOURCE, TABLE, model, raw, shipped

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime has no wheel for this Python")

HEAD: tuple[Shorthand, ...] = ("flatten", 4, "softmax")
PICTURES: dict[str, tuple[Shorthand, ...]] = {
    "pictures as rows": (6, "relu", 4, "softmax"),
    "logits only": (conv(3), "flatten", 4),
    "valid": (conv(3), *HEAD),
    "valid, stride 2": (conv(3, stride=2), *HEAD),
    "valid, a kernel of 1": (conv(3, 1, stride=3), *HEAD),
    "the whole picture": (conv(3, 7), *HEAD),
    "same": (conv(3, padding="same"), *HEAD),
    "same, even kernel": (conv(3, 4, padding="same"), *HEAD),
    "same, stride 2": (conv(3, 3, stride=2, padding="same"), *HEAD),
    "same, even kernel, stride 2": (conv(3, 4, stride=2, padding="same"), *HEAD),
    "same, kernel below the stride": (conv(3, 1, stride=2, padding="same"), *HEAD),
    "same, kernel of 2, stride 3": (conv(3, 2, stride=3, padding="same"), *HEAD),
    "same, kernel beyond the picture": (conv(3, 12, padding="same"), *HEAD),
    "two of them": (conv(3, padding="same"), "relu", conv(5, 2, stride=2), "gelu", *HEAD),
    "max pool": (conv(3), max_pool(), *HEAD),
    "max pool with something left over": (max_pool(2), *HEAD),
    "max pool that overlaps": (conv(3), max_pool(3, 2), *HEAD),
    "max pool with gaps": (max_pool(2, 3), *HEAD),
    "max pool behind what rises": (conv(3), "leaky_relu", max_pool(), *HEAD),
    "max pool behind what falls": (conv(3), "gelu", max_pool(), *HEAD),
    "average pool": (conv(3, padding="same"), average_pool(), *HEAD),
    "average pool that overlaps": (conv(3), average_pool(3, 1), *HEAD),
    "average pool with gaps": (average_pool(2, 3), *HEAD),
    "global average pool": (conv(3), "relu", "global_average_pool2d", 4, "softmax"),
    "dropout": (conv(3), "dropout", "flatten", "dropout", 4, "softmax"),
    "batch norm first": ("batch_norm", conv(3), *HEAD),
    "batch norm folded": (conv(3), "batch_norm", "relu", "flatten", 6, BatchNormSpec(epsilon=0.1), "tanh", 4),
    "batch norm that stays": (conv(3), "relu", "batch_norm", max_pool(), *HEAD),
    "batch norm of rows": ("flatten", "batch_norm", "relu", "batch_norm", "sigmoid", 4, "softmax"),
}
ROWS: dict[str, tuple[LossName, tuple[Shorthand, ...]]] = {
    "a regression": ("mean_squared_error", (8, "relu", 3)),
    "identity last": ("mean_squared_error", (8, "tanh", 3, "identity")),
    "an activation last": ("mean_squared_error", (8, "tanh", 3, "softplus")),
    "one number": ("mean_squared_error", (1,)),
    "two classes": ("binary_cross_entropy", (8, "relu", 1, "sigmoid")),
    "two classes, logits only": ("binary_cross_entropy", (8, "relu", 1)),
    "softmax inside": ("cross_entropy", (8, "softmax", 4, "softmax")),
}


def run(data: bytes, samples: NDArray[Any], expected_name: str) -> NDArray[Any]:
    """What onnxruntime answers."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    ((given,), (answered,)) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape[0], answered.name, answered.shape[0]) == ("inputs", "N", expected_name, "N")
    assert given.shape[1] == samples.shape[1]
    dtype = {"tensor(float)": np.float32, "tensor(double)": np.float64}[given.type]
    (outputs,) = session.run(None, {"inputs": samples.astype(dtype)})
    return cast("NDArray[Any]", outputs)


def check(model: Model, samples: Raw) -> None:
    """Holds what onnxruntime answers against `predict`, for one sample and for all of them."""
    data = exporter.dumps(model, SOURCE)
    onnx.checker.check_model(data, full_check=True)
    name = "probabilities" if model.metadata.task.labels else "values"
    # In float64, whose graph takes other ways, the two agree as far as that.
    close = 1e-5 if model.network.dtype == np.float32 else 1e-12
    for part in (samples[:1], samples):
        found, expected = run(data, part, name), model.predict(part)
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        np.testing.assert_allclose(found, expected, rtol=close, atol=close)


@pytest.mark.parametrize("dtype", DTYPES)
class TestAgainstPredict:
    @pytest.mark.parametrize("which", PICTURES)
    def test_pictures(self, which: str, dtype: DTypeName) -> None:
        check(model(PIXELS, *PICTURES[which], dtype=dtype), raw(PIXELS, 7))

    @pytest.mark.parametrize("which", ROWS)
    def test_rows(self, which: str, dtype: DTypeName) -> None:
        loss, shorthand = ROWS[which]
        check(model(NUMBERS, *shorthand, loss=loss, dtype=dtype), raw(NUMBERS, 7))

    @pytest.mark.parametrize("name", ACTIVATIONS)
    def test_activations(self, name: str, dtype: DTypeName) -> None:
        wide = 30 * raw(NUMBERS, 7)  # where exp overflows if it is let
        check(model(NUMBERS, name, 3, name, loss="mean_squared_error", dtype=dtype), wide)
        if ACTIVATIONS[name].elementwise:  # type: ignore[index]
            check(model(PIXELS, conv(3), name, *HEAD, dtype=dtype), raw(PIXELS, 7))

    def test_a_table_with_cells_that_are_missing(self, dtype: DTypeName) -> None:
        rows = np.concatenate([raw(TABLE, 40), [[np.nan] * 4, [51.3, 2, 2.0e9, 0], [0, 0, 0, 1]]])
        check(model(TABLE, 6, "relu", 4, "softmax", dtype=dtype), rows)


class TestAgainstPredictOfWhatShips:
    @pytest.mark.parametrize("name", datasets.DATASETS)
    def test_on_its_own_data(self, name: str) -> None:
        found = shipped(name)
        inputs = datasets.get(name).load().inputs[-200:]
        check(found, inputs / 255 if inputs.dtype == np.uint8 else inputs)


class TestEncoding:
    """A table's rows become the network's inputs bit by bit as in `nn`."""

    @pytest.mark.parametrize("which", ["made up", "heart"])
    def test_it_is_exact(self, which: str) -> None:
        features: Features = TABLE if which == "made up" else shipped(which).metadata.features
        rows = raw(features, 500)
        through = model(features, "identity", loss="mean_squared_error", dtype="float64")
        expected = np.empty((500, features.n_inputs))
        features.encode(rows, expected)
        found = run(exporter.dumps(through, SOURCE), rows, "values")
        np.testing.assert_array_equal(found, expected)


class TestFile:
    def test_no_layer_and_no_activation_is_left_out(self) -> None:
        assert set(exporter._WRITERS) == set(LAYERS.values())
        assert set(exporter._ACTIVATIONS) == set(ACTIVATIONS)
        named = {name for kind in cast("Any", LayerSpec).__args__ for name in type_names(kind)}
        assert named == set(LAYERS)

    def test_batch_norm_goes_into_the_weights_next_to_it(self) -> None:
        made = onnx.load_from_string(exporter.dumps(model(PIXELS, conv(3), "batch_norm", "flatten", 4), SOURCE))
        used = [node.op_type for node in made.graph.node if node.name.startswith("layers")]
        assert used == ["Conv", "Transpose", "Flatten", "Gemm"]

    def test_equal_models_give_equal_bytes(self) -> None:
        first, second = (exporter.dumps(model(PIXELS, *PICTURES["two of them"]), SOURCE) for _ in range(2))
        assert first == second

    def test_what_it_tells(self) -> None:
        made = onnx.load_from_string(exporter.dumps(model(TABLE, 4), SOURCE))
        assert (made.ir_version, made.opset_import[0].version) == (8, 17)
        assert (made.producer_name, made.model_version, made.graph.name) == ("trainserve", 3, "thing")
        told = {prop.key: prop.value for prop in made.metadata_props}
        assert (told["model"], told["version"], told["sha256"]) == ("thing", "3", "ab" * 32)
        assert json.loads(told["outputs"]) == {"labels": ["a", "b", "c", "d"]}
        assert json.loads(told["metrics"]) == {"test_loss": 0.25}
        assert json.loads(told["spec"])["network"]["layers"][0]["units"] == 4
        assert told["trainserve"]
        assert "ground (0 = sand, 1 = clay, 2 = peat)" in made.graph.input[0].doc_string

    def test_weights_beyond_2_gib(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(exporter, "MAX_BYTES", 50)
        with pytest.raises(InvalidInput, match="safetensors"):
            exporter.dumps(model(NUMBERS, 4), Source(model="large", version=1, sha256=""))

    def test_the_model_is_left_as_it_was(self) -> None:
        made = model(TABLE, "batch_norm", 4)
        before = {name: array.copy() for name, array in made.network.arrays.items()}
        exporter.dumps(made, SOURCE)
        assert isinstance(made.metadata.features, TableFeatures)
        for name, array in made.network.arrays.items():
            np.testing.assert_array_equal(array, before[name])
