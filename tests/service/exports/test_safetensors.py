from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from nn import ArtifactError
from nn.schema import to_json
from nn.spec import DTypeName
from service.exports import safetensors
from tests.nn.support import DTYPES, conv
from tests.service.exports.support import PIXELS, SOURCE, model


def file(header: object, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def one(dtype: str, shape: list[int], body: bytes) -> bytes:
    """A file with one array."""
    return file({"x": {"dtype": dtype, "shape": shape, "data_offsets": [0, len(body)]}}, body)


class TestRoundTrip:
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_every_array_bit_by_bit(self, dtype: DTypeName) -> None:
        made = model(PIXELS, conv(3), "batch_norm", "flatten", 4, dtype=dtype)
        data = safetensors.dumps(made, SOURCE)
        found = safetensors.loads(data)
        for arrays in (found.arrays, load(data)):
            assert set(arrays) == set(made.network.arrays)
            for name, array in made.network.arrays.items():
                assert arrays[name].dtype == array.dtype
                np.testing.assert_array_equal(arrays[name], array)
        assert found.spec == to_json(made.metadata.spec)

    def test_equal_models_give_equal_bytes(self) -> None:
        first, second = (safetensors.dumps(model(PIXELS, conv(3), "flatten", 4), SOURCE) for _ in range(2))
        assert first == second

    def test_what_it_tells(self) -> None:
        data = safetensors.dumps(model(PIXELS, 4), SOURCE)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        told = json.loads(header["__metadata__"]["trainserve"])
        assert (told["model"], told["version"], told["sha256"]) == ("thing", 3, "ab" * 32)
        assert told["metrics"] == {"test_loss": 0.25}


class TestDtypes:
    @pytest.mark.parametrize(("dtype", "array"), [("F16", "f2"), ("F32", "f4"), ("F64", "f8")])
    def test_floats(self, dtype: str, array: str) -> None:
        numbers = np.array([[0.1, -2, 3e4], [np.inf, 0, 1e-7]], array)
        (found,) = safetensors.loads(one(dtype, [2, 3], numbers.tobytes())).arrays.values()
        np.testing.assert_array_equal(found, numbers)
        assert found.dtype == numbers.dtype

    def test_bfloat16_is_the_upper_half_of_a_float32(self) -> None:
        numbers = np.array([1.0, -2.5, 3.0e38, 1e-30], np.float32)
        upper = (numbers.view(np.uint32) >> 16).astype(np.uint16)
        (found,) = safetensors.loads(one("BF16", [4], upper.tobytes())).arrays.values()
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, numbers, rtol=2**-7)
        assert found[:2].tolist() == [1.0, -2.5]

    @pytest.mark.parametrize("dtype", ["I8", "U8", "BOOL", "F8_E4M3"])
    def test_others_are_refused(self, dtype: str) -> None:
        with pytest.raises(ArtifactError, match=f"x: expected float16, bfloat16, float32 or float64; got {dtype}"):
            safetensors.loads(one(dtype, [3], bytes(3)))


class TestHostile:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\x00" * 7,
            b"\x00" * 8,
            b"\xff" * 8,
            struct.pack("<Q", 2**63) + b"{}",
            file(b"{}")[:-1],
            file(b"{}", b"behind"),
            file(b"[]"),
            file(b"\xff\xfe"),
            file(b"[" * 100_000),
            file({"x": None}),
            file({"x": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}}, bytes(4)),
            file({"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)),
            file({"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}, bytes(4)),
            file({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**64]}}, bytes(4)),
            file({"x": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
            file({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} for name in "xy"}, bytes(4)),
            file({"__metadata__": {"trainserve": 7}}),
            file({"__metadata__": {"trainserve": "not JSON"}}),
            file({"__metadata__": {"trainserve": "[" * 100_000}}),
            file(b'{"__metadata__": {"trainserve": "\\ud800"}}'),
        ],
    )
    def test_it_is_refused(self, data: bytes) -> None:
        with pytest.raises(ArtifactError):
            safetensors.loads(data)

    @pytest.mark.parametrize("told", ["null", "7", "[]", "{}", '{"spec": 7}'])
    def test_metadata_of_another_shape(self, told: str) -> None:
        found = safetensors.loads(file({"__metadata__": {"trainserve": told}}))
        assert (found.arrays, found.spec) == ({}, 7 if "7}" in told else None)

    @pytest.mark.parametrize("told", [{}, {"__metadata__": None}, {"__metadata__": {"format": "pt"}}])
    def test_files_of_others(self, told: dict[str, Any]) -> None:
        assert safetensors.loads(file(told)).spec is None

    @given(at=st.integers(0, 399), byte=st.integers(0, 255), cut=st.booleans())
    def test_a_file_that_was_changed_anywhere(self, at: int, byte: int, cut: bool) -> None:
        data = bytearray(save({"x": np.ones((3, 4), np.float32), "y": np.zeros(2)}, {"trainserve": '{"spec": {}}'}))
        at %= len(data)
        data[at] = byte
        try:
            found = safetensors.loads(bytes(data[:at] if cut else data))
        except ArtifactError:
            return
        assert all(array.dtype.kind == "f" for array in found.arrays.values())
