from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nn import InputError, ShapeError
from nn.activations import Array
from nn.features import MAX_PROBLEMS, Column, Features, NumberFeatures, PixelFeatures, TableFeatures
from tests.nn.support import DTYPES

NAN = math.nan
PIXELS = PixelFeatures(height=2, width=3, offset=-0.5)
NUMBERS = NumberFeatures(n_inputs=3)
TABLE = TableFeatures(
    columns=(Column(name="age"), Column(name="colour", categories=("red", "green", "blue")), Column(name="size"))
)
RECORD = {"age": 63, "colour": "green", "size": 1.5}


def encoded(features: Features, raw: object, dtype: str = "float64") -> Array:
    rows = np.asarray(raw)
    out: Array = np.full((len(rows), features.n_inputs), NAN, dtype)
    features.encode(rows, out)
    return out


def refused(read: Callable[[], object], message: str = "#") -> InputError:
    with pytest.raises(InputError, match=message) as caught:
        read()
    return caught.value


class TestPixels:
    def test_bytes_and_intensities_mean_the_same(self) -> None:
        grey = np.array([[0, 51, 102, 153, 204, 255]], np.uint8)
        expected = [[-0.5, -0.3, -0.1, 0.1, 0.3, 0.5]]
        np.testing.assert_allclose(encoded(PIXELS, grey), expected)
        np.testing.assert_allclose(encoded(PIXELS, grey / 255), expected)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("given", ["uint8", "float16", "float32", "float64", ">f8"])
    def test_any_dtype_in_the_network_s_dtype_out(self, given: str, dtype: str) -> None:
        out = encoded(PIXELS, PIXELS.read_array(np.ones((2, 6), given)), dtype)
        assert out.dtype == dtype
        np.testing.assert_allclose(out, 0.5 if given != "uint8" else 1 / 255 - 0.5, rtol=1e-6)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_every_byte_is_its_share_of_255_to_the_last_digits(self, dtype: str) -> None:
        features = PixelFeatures(height=16, width=16, offset=-0.5)
        grey = np.arange(256, dtype=np.uint8)[np.newaxis]
        expected = np.arange(256) / 255 - 0.5
        tolerance = {"float32": 1e-7, "float64": 1e-15}[dtype]
        np.testing.assert_allclose(encoded(features, grey, dtype)[0], expected, rtol=0, atol=tolerance)

    @pytest.mark.parametrize("shape", [(1, 6), (5, 6), (1, 2, 3), (5, 2, 3), (2, 3)])
    def test_takes_rows_pictures_and_one_picture(self, shape: tuple[int, ...]) -> None:
        array = np.linspace(0, 1, math.prod(shape)).reshape(shape)
        raw = PIXELS.read_array(array)
        assert raw.shape == (array.size // 6, 6)
        np.testing.assert_array_equal(raw.ravel(), array.ravel())

    def test_copies_no_pictures(self) -> None:
        pictures = np.zeros((5, 2, 3), np.uint8)
        assert np.shares_memory(PIXELS.read_array(pictures), pictures)

    @pytest.mark.parametrize(
        ("array", "pointer", "message"),
        [
            (np.full((2, 6), 253.0), "#/inputs/0/0", r"an intensity in \[0, 1\]; got 253; divide bytes by 255"),
            (np.array([[0, 1, 0.5, -0.1, 0, 0]]), "#/inputs/0/3", r"an intensity in \[0, 1\]; got -0.1"),
            (np.array([[0.0] * 6, [0, 0, NAN, 0, 0, 0]]), "#/inputs/1/2", "expected a finite number"),
            (np.array([[0, np.inf, 0, 0, 0, 0.0]]), "#/inputs/0/1", "expected a finite number"),
            (np.zeros((2, 6), np.int64), "#/inputs", r"floats in \[0, 1\] or bytes \(uint8\).*; got an array of int64"),
            (np.zeros((2, 6), bool), "#/inputs", "got an array of bool"),
            (np.full((2, 6), "0"), "#/inputs", "got an array of <U1"),
            (np.zeros((2, 6), object), "#/inputs", "got an array of object"),
            (np.zeros((2, 6), complex), "#/inputs", "got an array of complex128"),
        ],
    )
    def test_refuses_numbers_that_are_no_pixels(self, array: NDArray[Any], pointer: str, message: str) -> None:
        error = refused(lambda: PIXELS.read_array(array), message)
        assert error.problems[0].pointer == pointer

    @pytest.mark.parametrize("shape", [(), (6,), (0, 6), (0, 2, 3), (1, 5), (3, 2), (1, 3, 2), (1, 1, 2, 3)])
    def test_refuses_other_shapes(self, shape: tuple[int, ...]) -> None:
        assert isinstance(refused(lambda: PIXELS.read_array(np.zeros(shape, np.uint8))), ShapeError)

    def test_says_what_shape_it_takes(self) -> None:
        error = refused(lambda: PIXELS.read_array(np.zeros((1, 5))))
        assert str(error) == "#/inputs/0: expected 6 numbers or pictures of 2×3; got 5"


class TestNumbers:
    @pytest.mark.parametrize("given", ["int8", "uint64", "float16", "float32", "float64", "longdouble", ">i4"])
    def test_takes_real_numbers(self, given: str) -> None:
        raw = NUMBERS.read_array(np.array([[1, 2, 3]], given))
        assert raw.dtype == np.float64
        assert raw.tolist() == [[1, 2, 3]]

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_the_network_gets_them_as_they_are(self, dtype: str) -> None:
        out = encoded(NUMBERS, NUMBERS.read_array(np.array([[0.1, -2, 3e30]])), dtype)
        assert out.dtype == dtype
        np.testing.assert_allclose(out, [[0.1, -2, 3e30]], rtol=1e-7)

    @pytest.mark.parametrize("number", [NAN, np.inf, -np.inf, 1e300, -1e39])
    def test_refuses_what_is_not_finite_in_float32(self, number: float) -> None:
        error = refused(lambda: NUMBERS.read_array(np.array([[1, 2, 3], [4, number, 6]])))
        assert str(error) == "#/inputs/1/1: expected a finite number within the range of float32"

    @pytest.mark.parametrize("kind", ["bool", "U3", "S3", "object", "complex64", "M8[s]", "m8[s]"])
    def test_refuses_what_is_no_real_number(self, kind: str) -> None:
        error = refused(lambda: NUMBERS.read_array(np.zeros((1, 3), kind)))
        assert str(error) == f"#/inputs: expected real numbers; got an array of {np.dtype(kind)}"

    @pytest.mark.parametrize(
        ("shape", "message"),
        [
            ((2, 4), "#/inputs/0: expected 3 numbers; got 4"),
            ((2, 0), "#/inputs/0: expected 3 numbers; got 0"),
            ((0, 3), "#/inputs: expected at least one row; got none"),
            ((3,), r"#/inputs: expected rows of 3 numbers; got the shape (3,)"),
            ((1, 1, 3), r"#/inputs: expected rows of 3 numbers; got the shape (1, 1, 3)"),
            ((), r"#/inputs: expected rows of 3 numbers; got the shape ()"),
        ],
    )
    def test_refuses_other_shapes(self, shape: tuple[int, ...], message: str) -> None:
        error = refused(lambda: NUMBERS.read_array(np.zeros(shape)))
        assert isinstance(error, ShapeError)
        assert str(error) == message


class TestFittingATable:
    RAW = np.array([[30, 2, 0.1], [90, 0, 0.1], [NAN, NAN, 0.1], [40, 2, 0.1]])

    def test_numbers_are_standardised_with_missing_cells_at_the_median(self) -> None:
        age = encoded(TABLE.fitted(self.RAW), self.RAW)[:, 0]
        deviation = np.std([30, 90, 40, 40])
        np.testing.assert_allclose(age, np.array([-20, 40, -10, -10]) / deviation)

    def test_categories_are_one_hot_with_missing_cells_at_the_most_frequent(self) -> None:
        colours = encoded(TABLE.fitted(self.RAW), self.RAW)[:, 1:4]
        assert colours.tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 1]]

    def test_a_category_that_was_not_seen_is_all_zeros(self) -> None:
        fitted = TABLE.fitted(self.RAW)
        assert encoded(fitted, [[40, 1, 0.1]])[:, 1:4].tolist() == [[0, 0, 0]]

    @pytest.mark.parametrize("n_samples", [1, 4, 300])
    @pytest.mark.parametrize("constant", [0.1, 0, -1e9])
    def test_a_constant_column_is_zero_and_divides_by_nothing(self, constant: float, n_samples: int) -> None:
        """The mean of many times 0.1 is not quite 0.1, and the deviation not quite 0."""
        raw = np.full((n_samples, 3), constant)
        raw[:, 1] = 0
        fitted = TABLE.fitted(raw)
        assert not encoded(fitted, raw)[:, [0, 4]].any()
        assert encoded(fitted, [[constant + 1, 0, constant]])[0, 0] == pytest.approx(1)

    def test_a_column_without_any_value_still_encodes(self) -> None:
        raw = np.full((3, 3), NAN)
        assert np.isfinite(encoded(TABLE.fitted(raw), raw)).all()

    def test_before_it_is_fitted_it_encodes_as_it_stands(self) -> None:
        assert encoded(TABLE, [[7, 1, NAN]]).tolist() == [[7, 0, 1, 0, 0]]

    def test_training_cells_come_out_with_mean_0_and_deviation_1(self, rng: np.random.Generator) -> None:
        raw = np.column_stack([rng.normal(1e4, 1e-2, 500), rng.integers(0, 3, 500), rng.exponential(1e5, 500)])
        numbers = encoded(TABLE.fitted(raw), raw)[:, [0, 4]]
        np.testing.assert_allclose(numbers.mean(axis=0), 0, atol=1e-6)
        np.testing.assert_allclose(numbers.std(axis=0), 1, rtol=1e-6)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_encodes_in_the_network_s_dtype(self, dtype: str) -> None:
        out = encoded(TABLE.fitted(self.RAW), self.RAW, dtype)
        assert out.dtype == dtype
        assert np.isfinite(out).all()

    def test_seen_must_go_with_the_categories(self) -> None:
        with pytest.raises(ValueError, match="expected `seen` for 2 categories; got 1"):
            Column(name="a", categories=("x", "y"), seen=(True,))


class TestRecords:
    def test_columns_come_by_name_in_any_order(self) -> None:
        backwards = dict(reversed(RECORD.items()))
        assert TABLE.read_records([RECORD, backwards]).tolist() == [[63, 1, 1.5]] * 2

    def test_null_is_a_missing_cell(self) -> None:
        raw = TABLE.read_records([dict.fromkeys(RECORD)])
        assert np.isnan(raw).all()

    @pytest.mark.parametrize(
        ("change", "pointer", "message"),
        [
            ({"age": "63"}, "age", "expected a number; got '63'"),
            ({"age": True}, "age", "expected a number; got true"),
            ({"age": [63]}, "age", r"expected a number; got \[63\]"),
            ({"age": NAN}, "age", "expected a finite number"),
            ({"age": json.loads("1e400")}, "age", "expected a finite number"),
            ({"age": -1e39}, "age", "expected a finite number"),
            ({"age": 10**400}, "age", "expected a finite number"),
            ({"age": -(10**5000)}, "age", "expected a finite number"),
            ({"colour": "purple"}, "colour", "expected one of 'red', 'green', 'blue'; got 'purple'"),
            ({"colour": 1}, "colour", "expected one of 'red', 'green', 'blue'; got 1"),
            ({"colour": 10**5000}, "colour", "got <int too large to show>"),
            ({"colour": False}, "colour", "got false"),
            ({"colour": ["red"]}, "colour", r"got \['red'\]"),
            ({"colour": "x" * 1000}, "colour", r"got 'x{56}\.\.\.$"),
            ({"weight": 80}, "weight", "unknown column; the columns are age, colour, size"),
            ({"a/b~c": 80}, "a~1b~0c", "unknown column"),
        ],
    )
    def test_a_wrong_cell_is_told_with_its_pointer(self, change: dict[str, object], pointer: str, message: str) -> None:
        error = refused(lambda: TABLE.read_records([RECORD, {**RECORD, **change}]), message)
        assert [problem.pointer for problem in error.problems] == [f"#/records/1/{pointer}"]

    @pytest.mark.parametrize("name", RECORD)
    def test_a_missing_column_is_told(self, name: str) -> None:
        record = {other: cell for other, cell in RECORD.items() if other != name}
        error = refused(lambda: TABLE.read_records([record]))
        assert str(error) == f"#/records/0/{name}: missing column; send null where the value is not known"

    @pytest.mark.parametrize("record", [[63, "green", 1.5], "age", None, 63, True])
    def test_a_record_must_be_an_object(self, record: object) -> None:
        error = refused(lambda: TABLE.read_records([RECORD, record]))
        assert error.problems[0].pointer == "#/records/1"
        assert error.problems[0].detail.startswith("expected an object with the columns; got ")

    def test_all_problems_are_told_together_up_to_a_limit(self) -> None:
        assert len(refused(lambda: TABLE.read_records([{}, {"colour": "purple"}])).problems) == 6
        assert len(refused(lambda: TABLE.read_records([{}] * 1000)).problems) == MAX_PROBLEMS

    def test_no_records_are_refused(self) -> None:
        assert str(refused(lambda: TABLE.read_records([]))) == "#/records: expected at least one record; got none"

    def test_a_column_s_name_may_hold_anything(self) -> None:
        features = TableFeatures(columns=(Column(name="a/b"),))
        assert features.read_records([{"a/b": 1}]).tolist() == [[1]]
        assert refused(lambda: features.read_records([{"a/b": "x"}])).problems[0].pointer == "#/records/0/a~1b"


@pytest.mark.parametrize("features", [PIXELS, NUMBERS], ids=["pixels", "numbers"])
def test_rows_of_numbers_are_no_records(features: Features) -> None:
    error = refused(lambda: features.read_records([{"age": 1}]))
    assert error.problems[0].pointer == "#/records"
    assert 'send {"inputs": [[…], …]}' in str(error)


def test_a_table_takes_no_rows_of_numbers() -> None:
    error = refused(lambda: TABLE.read_array(np.zeros((1, 3))))
    assert error.problems[0].pointer == "#/inputs"
    assert 'send {"records":' in str(error)


@pytest.mark.parametrize(
    ("features", "raw"),
    [
        (PIXELS, np.array([[0, 1, 128, 254, 255, 3]], np.uint8)),
        (NUMBERS, np.array([[0.1, -2.5, 1e30]])),
        (TABLE, np.array([[63, 2, NAN], [NAN, NAN, 0.1]])),
    ],
    ids=["pixels", "numbers", "table"],
)
def test_as_request_is_json_that_reads_back_as_the_same(features: Features, raw: NDArray[Any]) -> None:
    request = json.loads(json.dumps(features.as_request(raw), allow_nan=False))
    if "records" in request:
        read = features.read_records(request["records"])
    else:
        read = features.read_array(np.array(request["inputs"]))
    np.testing.assert_allclose(encoded(features, read), encoded(features, raw), atol=1e-4)


@pytest.mark.parametrize(("features", "shape"), [(PIXELS, (2, 3, 1)), (NUMBERS, (3,)), (TABLE, (5,))], ids=str)
def test_shape_is_that_of_a_sample(features: Features, shape: tuple[int, ...]) -> None:
    assert features.shape == shape
    assert math.prod(features.shape) == features.n_inputs


def test_describe_tells_a_client_what_to_send() -> None:
    assert PIXELS.describe() == {"kind": "picture", "shape": [2, 3], "n_inputs": 6}
    assert NUMBERS.describe() == {"kind": "numbers", "n_inputs": 3}
    assert TABLE.describe() == {
        "kind": "table",
        "columns": [
            {"name": "age", "type": "number"},
            {"name": "colour", "type": "category", "categories": ["red", "green", "blue"]},
            {"name": "size", "type": "number"},
        ],
        "n_inputs": 5,
    }
