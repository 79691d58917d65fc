"""From what people have to what a network takes: pixels, numbers, or the columns of a table.

Features are part of a model: they are fitted on the training split alone, travel inside the artifact, and turn the raw
values of a request into the network's inputs. *Raw* is an array with one row a sample: bytes for pictures, float64 for
numbers, and for tables float64 in which a category is its number in the column's list and NaN a missing cell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from nn.activations import Array
from nn.errors import InputError, Problem, ShapeError
from nn.schema import JSON, Length, Range, escape, shown

Raw = NDArray[Any]
MAX_NUMBER = float(np.finfo(np.float32).max)  # Python's own number: it compares with a whole number of any size
MAX_INPUTS = 1_000_000
MAX_PROBLEMS = 20  # an answer need not list each of a million wrong numbers


@dataclass(frozen=True, kw_only=True)
class PixelFeatures:
    """Grey pictures, bright on a black ground: bytes from 0 to 255, or intensities in [0, 1].

    The network sees `intensity + offset`, `height · width` numbers a picture.
    """

    type: Literal["pixels"] = "pixels"
    height: Annotated[int, Range(minimum=1, maximum=4096)]
    width: Annotated[int, Range(minimum=1, maximum=4096)]
    offset: float = 0.0

    @property
    def n_inputs(self) -> int:
        return self.height * self.width

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a sample: a picture of one channel."""
        return self.height, self.width, 1

    def encode(self, raw: Raw, out: Array) -> None:
        """`raw`: `(n_samples, n_inputs)` of uint8, or of floats in [0, 1]."""
        if raw.dtype == np.uint8:
            # Copied first and multiplied in place: NumPy converts faster when it does nothing else meanwhile.
            np.copyto(out, raw)
            out *= 1 / 255
            out += self.offset
        elif raw.dtype.kind == "f":
            np.add(raw, self.offset, out=out, casting="same_kind")
        else:
            raise InputError.at(
                "#/inputs", f"expected bytes (uint8) from 0 to 255, or floats in [0, 1]; got an array of {raw.dtype}"
            )

    def read_array(self, array: NDArray[Any]) -> Raw:
        """Raw samples from an array `(n, height·width)` or `(n, height, width)`, or one picture `(height, width)`."""
        came = array.shape
        if came[-2:] == (self.height, self.width) and array.ndim in (2, 3):
            array = array.reshape(-1, self.n_inputs)
        array = _checked_rows(array, self.n_inputs, came, f" or pictures of {self.height}×{self.width}")
        if array.dtype == np.uint8:
            return array
        if not np.issubdtype(array.dtype, np.floating):
            raise InputError.at(
                "#/inputs",
                f"expected floats in [0, 1] or bytes (uint8) from 0 to 255; got an array of {array.dtype}",
            )
        outside = np.argwhere((array < 0) | (array > 1))
        if len(outside):
            raise InputError.at(
                _place(outside[0], array.shape, came),
                f"expected an intensity in [0, 1]; got {array[tuple(outside[0])]:g}; "
                "divide bytes by 255, or send them as a picture or as a uint8 .npy array",
            )
        return array

    def read_records(self, records: Sequence[object]) -> Raw:
        raise _no_records("pictures as numbers")

    def as_request(self, raw: Raw) -> dict[str, JSON]:
        """The JSON that `read_array` takes for these bytes."""
        return {"inputs": np.round(raw / 255, 4).tolist()}

    def describe(self) -> dict[str, JSON]:
        return {"kind": "picture", "shape": [self.height, self.width], "n_inputs": self.n_inputs}


@dataclass(frozen=True, kw_only=True)
class NumberFeatures:
    """Rows of numbers that the network takes as they are."""

    type: Literal["numbers"] = "numbers"
    n_inputs: Annotated[int, Range(minimum=1, maximum=MAX_INPUTS)]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a sample: a row."""
        return (self.n_inputs,)

    def encode(self, raw: Raw, out: Array) -> None:
        """`raw`: `(n_samples, n_inputs)`."""
        np.copyto(out, raw, casting="same_kind")

    def read_array(self, array: NDArray[Any]) -> Raw:
        """Raw samples from `(n, n_inputs)` real numbers."""
        array = _checked_rows(array, self.n_inputs, array.shape)
        if array.dtype.kind not in "iuf":
            raise InputError.at("#/inputs", f"expected real numbers; got an array of {array.dtype}")
        return array.astype(np.float64, copy=False)

    def read_records(self, records: Sequence[object]) -> Raw:
        raise _no_records("rows of numbers")

    def as_request(self, raw: Raw) -> dict[str, JSON]:
        """The JSON that `read_array` takes for these rows."""
        return {"inputs": raw.tolist()}

    def describe(self) -> dict[str, JSON]:
        return {"kind": "numbers", "n_inputs": self.n_inputs}


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table, and what of it was fitted on the training split.

    With `categories` it holds one of these words, else a number. A missing cell becomes `fill`: the median, or the
    number of the most frequent category. A number becomes `(number - mean) / deviation`; a category one of as many
    inputs as there are categories, all 0 for one that the training split did not have (`seen`; empty: all count).
    """

    name: str
    categories: tuple[str, ...] = ()
    fill: float = 0.0
    mean: float = 0.0
    deviation: Annotated[float, Range(above=0)] = 1.0
    seen: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        if len(self.seen) not in (0, len(self.categories)):
            raise ValueError(f"expected `seen` for {len(self.categories)} categories; got {len(self.seen)}")

    @property
    def n_inputs(self) -> int:
        return len(self.categories) or 1

    def fitted(self, cells: NDArray[np.float64]) -> Column:
        """This column with what the training cells `(n_samples,)` tell."""
        present = cells[~np.isnan(cells)]
        if self.categories:
            counts = np.bincount(present.astype(np.intp), minlength=len(self.categories))
            seen = tuple(bool(count) for count in counts)
            return Column(name=self.name, categories=self.categories, fill=float(counts.argmax()), seen=seen)
        if not len(present):
            return self
        fill = float(np.median(present))
        filled = np.where(np.isnan(cells), fill, cells)
        if (filled == fill).all():
            # It tells nothing, and must not divide by 0, or by the rounding in the mean of equal numbers.
            return Column(name=self.name, fill=fill, mean=fill)
        return Column(name=self.name, fill=fill, mean=float(filled.mean()), deviation=float(filled.std()))

    def encode(self, cells: NDArray[np.float64], out: Array) -> None:
        """Writes `(n_samples,)` cells into `out`, `(n_samples, n_inputs)`."""
        filled = np.where(np.isnan(cells), self.fill, cells)
        if self.categories:
            out[...] = (filled[:, np.newaxis] == np.arange(len(self.categories))) & np.array(self.seen or True)
        else:
            out[:, 0] = (filled - self.mean) / self.deviation

    def read(self, cell: object) -> float:
        """A cell from JSON: null is missing. Raises `ValueError` that says what was expected."""
        if cell is None:
            return math.nan
        if self.categories:
            if cell in self.categories if isinstance(cell, str) else False:
                return self.categories.index(str(cell))
            raise ValueError(f"expected one of {', '.join(map(repr, self.categories))}; got {shown(cell)}")
        if isinstance(cell, bool) or not isinstance(cell, int | float):
            raise ValueError(f"expected a number; got {shown(cell)}")
        if not abs(cell) <= MAX_NUMBER:
            raise ValueError("expected a finite number within the range of float32")
        return float(cell)

    def show(self, cell: float) -> JSON:
        """What `read` takes for a cell."""
        if math.isnan(cell):
            return None
        return self.categories[int(cell)] if self.categories else cell

    def describe(self) -> dict[str, JSON]:
        if self.categories:
            return {"name": self.name, "type": "category", "categories": list(self.categories)}
        return {"name": self.name, "type": "number"}


@dataclass(frozen=True, kw_only=True)
class TableFeatures:
    """The columns of a table: numbers are standardised, categories one-hot, missing cells filled."""

    type: Literal["table"] = "table"
    columns: Annotated[tuple[Column, ...], Length(1, 10_000)]

    @property
    def n_inputs(self) -> int:
        return sum(column.n_inputs for column in self.columns)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a sample: a row."""
        return (self.n_inputs,)

    def fitted(self, raw: Raw) -> TableFeatures:
        """These columns with what the training rows, `(n_samples, n_columns)`, tell."""
        columns = tuple(column.fitted(raw[:, index]) for index, column in enumerate(self.columns))
        return TableFeatures(columns=columns)

    def encode(self, raw: Raw, out: Array) -> None:
        """`raw`: `(n_samples, n_columns)`."""
        start = 0
        for index, column in enumerate(self.columns):
            column.encode(raw[:, index], out[:, start : start + column.n_inputs])
            start += column.n_inputs

    def read_array(self, array: NDArray[Any]) -> Raw:
        raise InputError.at(
            "#/inputs", 'a table model takes rows by column name: send {"records": [{"column": value, …}]} as JSON'
        )

    def read_records(self, records: Sequence[object]) -> Raw:
        """Raw samples from JSON objects, one a row, with exactly these columns; null is a missing cell."""
        if not len(records):
            raise ShapeError.at("#/records", "expected at least one record; got none")
        problems: list[Problem] = []
        raw = np.empty((len(records), len(self.columns)))
        for row, record in enumerate(records):
            self._read_record(record, raw[row], f"#/records/{row}", problems)
            if len(problems) >= MAX_PROBLEMS:
                break
        if problems:
            raise InputError(problems[:MAX_PROBLEMS])
        return raw

    def _read_record(self, record: object, out: NDArray[np.float64], pointer: str, problems: list[Problem]) -> None:
        if not isinstance(record, Mapping):
            problems.append(Problem(pointer, f"expected an object with the columns; got {shown(record)}"))
            return
        names = [column.name for column in self.columns]
        unknown = f"unknown column; the columns are {', '.join(names)}"
        others = (name for name in record if name not in names)
        problems += [Problem(f"{pointer}/{escape(name)}", unknown) for name in islice(others, MAX_PROBLEMS)]
        for index, column in enumerate(self.columns):
            if column.name not in record:
                missing = "missing column; send null where the value is not known"
                problems.append(Problem(f"{pointer}/{escape(column.name)}", missing))
                continue
            try:
                out[index] = column.read(record[column.name])
            except ValueError as error:
                problems.append(Problem(f"{pointer}/{escape(column.name)}", str(error)))

    def as_request(self, raw: Raw) -> dict[str, JSON]:
        """The JSON that `read_records` takes for these rows."""
        names = [column.name for column in self.columns]
        rows = [[column.show(cell) for column, cell in zip(self.columns, row, strict=True)] for row in raw.tolist()]
        return {"records": [dict(zip(names, row, strict=True)) for row in rows]}

    def describe(self) -> dict[str, JSON]:
        return {"kind": "table", "columns": [column.describe() for column in self.columns], "n_inputs": self.n_inputs}


Features = PixelFeatures | NumberFeatures | TableFeatures


def _no_records(expected: str) -> InputError:
    return InputError.at("#/records", f'this model takes {expected}: send {{"inputs": [[…], …]}}')


def _place(index: NDArray[np.intp], shape: tuple[int, ...], came: tuple[int, ...]) -> str:
    """The pointer to an element of the rows, in the shape in which they came."""
    flat = int(np.ravel_multi_index(tuple(index), shape))
    return "/".join(["#/inputs", *(str(at) for at in np.unravel_index(flat, came))])


def _checked_rows(array: NDArray[Any], n_inputs: int, came: tuple[int, ...], also: str = "") -> NDArray[Any]:
    """An array that is `(n ≥ 1, n_inputs)` and, in float32, finite; raises `ShapeError` or `InputError`.

    `came` is its shape before it was made rows.
    """
    if array.ndim != 2:
        raise ShapeError.at("#/inputs", f"expected rows of {n_inputs} numbers{also}; got the shape {array.shape}")
    if not len(array):
        raise ShapeError.at("#/inputs", "expected at least one row; got none")
    if array.shape[1] != n_inputs:
        raise ShapeError.at("#/inputs/0", f"expected {n_inputs} numbers{also}; got {array.shape[1]}")
    if np.issubdtype(array.dtype, np.floating):
        with np.errstate(over="ignore"):
            lost = np.argwhere(~np.isfinite(array.astype(np.float32, copy=False)))
        if len(lost):
            place = _place(lost[0], array.shape, came)
            raise InputError.at(place, "expected a finite number within the range of float32")
    return array
