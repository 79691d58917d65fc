"""Bodies → raw samples. What is refused over HTTP is tried there; here is what arrives."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nn import InputError, ShapeError, datasets
from nn.features import NumberFeatures, PixelFeatures
from service.errors import InvalidInput
from service.inference.decode import JSONBody, NpyBody, PictureBody
from service.inference.pictures import encode_png

NUMBERS = NumberFeatures(n_inputs=2)
PIXELS = PixelFeatures(height=28, width=28)
TABLE = datasets.get("heart").features
LIMIT = 10**6
MANY = 10**6


def body(document: object) -> JSONBody:
    return JSONBody(json.dumps(document).encode())


def npy(array: NDArray[Any], version: tuple[int, int] = (1, 0)) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=version)
    return buffer.getvalue()


class TestJSON:
    @pytest.mark.parametrize("rows", [[[1, 2]], [[0.5, -3e38]], [[1, 2.5], [2**63, -(2**70)]], [[0, 0]] * 1000])
    def test_rows_of_numbers(self, rows: list[list[float]]) -> None:
        raw = body({"inputs": rows}).read(NUMBERS, MANY)
        assert raw.dtype == np.float64
        np.testing.assert_array_equal(raw, np.array(rows, np.float64))

    @pytest.mark.parametrize("shape", [(784,), (28, 28)])
    def test_pictures_as_rows_or_as_rows_of_rows(self, shape: tuple[int, ...]) -> None:
        picture = np.linspace(0, 1, 784).reshape(shape)
        raw = body({"inputs": [picture.tolist(), picture.tolist()]}).read(PIXELS, MANY)
        assert raw.shape == (2, 784)
        np.testing.assert_array_equal(raw[1], picture.ravel())

    def test_records(self) -> None:
        record = dict.fromkeys([column["name"] for column in TABLE.describe()["columns"]])
        raw = body({"records": [record | {"age": 63, "sex": "male"}]}).read(TABLE, MANY)
        assert raw.shape == (1, 13)
        assert raw[0, :2].tolist() == [63, 1]
        assert np.isnan(raw[0, 2:]).all()

    @pytest.mark.parametrize(
        ("rows", "pointer"),
        [
            ([[1, 2], [3]], "#/inputs/1"),
            ([[1, 2], [True, 2]], "#/inputs/1/0"),
            ([[1, [2]]], "#/inputs/0/1"),
            ([[[1], [2, 3]]], "#/inputs/0"),
            ([[1, 2], [[1], [2]]], "#/inputs/1"),
        ],
    )
    def test_the_place_of_what_is_wrong(self, rows: object, pointer: str) -> None:
        with pytest.raises(InputError) as caught:
            body({"inputs": rows}).read(NUMBERS, MANY)
        assert caught.value.problems[0].pointer == pointer

    def test_the_model_it_names(self) -> None:
        assert body({"model": "heart"}).model == "heart"
        assert body({}).model is body([]).model is body(None).model is None
        with pytest.raises(InputError):
            _ = body({"model": 7}).model


class TestNpy:
    @pytest.mark.parametrize(
        "dtype", ["<f8", ">f8", "<f4", ">f4", "<f2", ">f2", "|u1", "<u2", ">i4", "|i1", "<i8", "<f16"]
    )
    @pytest.mark.parametrize("order", ["C", "F"])
    def test_every_kind_of_real_number_in_either_order(self, dtype: str, order: Any) -> None:
        array = np.asarray(np.arange(12).reshape(6, 2), dtype, order=order)
        raw = NpyBody(npy(array)).read(NUMBERS, MANY)
        assert raw.dtype == np.float64
        assert raw.dtype.isnative
        np.testing.assert_array_equal(raw, np.arange(12).reshape(6, 2))

    def test_version_2_of_the_format(self) -> None:
        np.testing.assert_array_equal(NpyBody(npy(np.ones((1, 2)), (2, 0))).read(NUMBERS, MANY), [[1, 1]])

    def test_version_3_is_not_read(self) -> None:
        with pytest.raises(InvalidInput, match=r"1\.0 or 2\.0"):
            NpyBody(npy(np.ones((1, 2)), (3, 0))).read(NUMBERS, MANY)

    def test_bytes_stay_bytes_for_pictures(self) -> None:
        picture = np.arange(784, dtype=np.uint8).reshape(28, 28)
        raw = NpyBody(npy(picture)).read(PIXELS, MANY)
        assert raw.dtype == np.uint8
        assert raw.shape == (1, 784)
        np.testing.assert_array_equal(raw[0], picture.ravel())

    def test_a_wrong_shape(self) -> None:
        with pytest.raises(ShapeError, match=r"got the shape \(2, 2, 2\)"):
            NpyBody(npy(np.ones((2, 2, 2)))).read(NUMBERS, MANY)

    def test_every_prefix_of_a_file_is_refused(self) -> None:
        whole = npy(np.ones((2, 2)))
        for length in range(len(whole)):
            with pytest.raises(InvalidInput):
                NpyBody(whole[:length]).read(NUMBERS, MANY)


class TestPictures:
    def test_each_becomes_a_row(self) -> None:
        strokes = np.zeros((40, 40), np.uint8)
        strokes[5:35, 18:22] = 255
        raw = PictureBody([encode_png(strokes), encode_png(strokes.T.copy())], LIMIT).read(PIXELS, MANY)
        assert raw.dtype == np.uint8
        assert raw.shape == (2, 784)
        assert (raw[0] != raw[1]).any()

    def test_only_for_models_of_28_by_28(self) -> None:
        for features in (NUMBERS, TABLE, PixelFeatures(height=8, width=8)):
            with pytest.raises(InvalidInput, match="not picture files"):
                PictureBody([b""], LIMIT).read(features, MANY)
