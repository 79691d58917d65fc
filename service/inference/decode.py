"""The body of a prediction request → raw samples for a model's features."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn.errors import InputError, ShapeError
from nn.features import Features, PixelFeatures, Raw
from nn.images import SIDE, to_mnist
from nn.schema import escape, shown
from service.errors import InvalidInput
from service.inference import pictures

FIELDS = ("inputs", "records", "model")


@dataclass(frozen=True)
class JSONBody:
    """`{"inputs": […]}` or `{"records": […]}`, as a JSON parser returned it."""

    document: object

    @property
    def model(self) -> str | None:
        """The model that the body names."""
        name = self.document.get("model") if isinstance(self.document, Mapping) else None
        if name is not None and not isinstance(name, str):
            raise InputError.at("#/model", f"expected the name of a model; got {shown(name)}")
        return name

    def read(self, features: Features) -> Raw:
        if not isinstance(self.document, Mapping):
            raise InputError.at("#", f'expected an object with "inputs" or "records"; got {shown(self.document)}')
        for name in self.document:
            if name not in FIELDS:
                raise InputError.at(f"#/{escape(name)}", f"unknown field; the fields are {', '.join(FIELDS)}")
        if ("inputs" in self.document) == ("records" in self.document):
            raise InputError.at("#", 'expected either "inputs" or "records"')
        if "records" in self.document:
            records = self.document["records"]
            if not isinstance(records, list) or not records:
                raise InputError.at("#/records", f"expected a list of at least one object; got {shown(records)}")
            return features.read_records(records)
        return features.read_array(_numbers(self.document["inputs"], features.n_inputs))


@dataclass(frozen=True)
class NpyBody:
    """An array in NumPy's `.npy` format."""

    data: bytes
    model: None = None

    def read(self, features: Features) -> Raw:
        return features.read_array(_load_npy(self.data))


@dataclass(frozen=True)
class PictureBody:
    """Picture files, one a sample."""

    files: Sequence[bytes]
    max_pixels: int
    model: None = None

    def read(self, features: Features) -> Raw:
        if not isinstance(features, PixelFeatures) or (features.height, features.width) != (SIDE, SIDE):
            raise InvalidInput(f"this model takes {features.describe()['kind']}, not picture files: send JSON")
        seen = [self._read_one(index, data) for index, data in enumerate(self.files)]
        return np.stack(seen).reshape(len(seen), -1)

    def _read_one(self, index: int, data: bytes) -> NDArray[np.uint8]:
        try:
            return to_mnist(pictures.decode(data, self.max_pixels))
        except (InvalidInput, InputError) as error:
            detail = error.detail if isinstance(error, InvalidInput) else error.problems[0].detail
            if len(self.files) == 1:
                raise InvalidInput(detail) from None
            raise InputError.at(f"#/{index}", detail) from None


Body = JSONBody | NpyBody | PictureBody


def _numbers(rows: object, n_inputs: int) -> NDArray[np.float64]:
    """An array of rows, or of pictures as lists of rows, from JSON; nothing but numbers is taken for a number."""
    if not isinstance(rows, list) or not rows:
        raise ShapeError.at("#/inputs", f"expected a list of at least one row; got {shown(rows)}")
    length = None
    for index, row in enumerate(rows):
        pointer = f"#/inputs/{index}"
        if not isinstance(row, list):
            wanted = f"a row of {n_inputs} number{'s' if n_inputs > 1 else ''}"
            raise ShapeError.at(pointer, f"expected {wanted}, in a list of its own; got {shown(row)}")
        flat = list(chain.from_iterable(row)) if row and all(isinstance(part, list) for part in row) else row
        if not {int, float}.issuperset(map(type, flat)):
            column, value = next((at, value) for at, value in enumerate(flat) if type(value) not in (int, float))
            raise InputError.at(f"{pointer}/{column}", f"expected a number; got {shown(value)}")
        length = len(row) if length is None else length
        if len(row) != length or (flat is not row and len({len(part) for part in row}) > 1):
            raise ShapeError.at(pointer, f"expected {n_inputs} numbers as in every row; got {len(flat)}")
    try:
        return np.array(rows, np.float64)
    except OverflowError:
        raise InputError.at("#/inputs", "expected numbers within the range of float32; got a larger one") from None
    except ValueError:
        raise ShapeError.at("#/inputs", "expected rows of one shape; got rows of several") from None


def _load_npy(data: bytes) -> NDArray[Any]:
    """The array in a `.npy` file; its header is believed only where it agrees with the bytes that follow."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
        elif version == (2, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(stream)
        else:
            raise InvalidInput(f"expected version 1.0 or 2.0 of the .npy format; got {version[0]}.{version[1]}")
    except (ValueError, EOFError, MemoryError, RecursionError):
        raise InvalidInput("not a .npy array: its header cannot be read; write it with numpy.save") from None
    if dtype.hasobject:
        raise InvalidInput("the .npy array holds Python objects, which are never unpickled: send plain numbers")
    if dtype.names is not None or dtype.kind not in "buif":
        raise InvalidInput(f"expected an array of real numbers; got one of {dtype}")
    n_bytes = dtype.itemsize
    for side in shape:
        n_bytes *= side
    remaining = len(data) - stream.tell()
    if n_bytes != remaining:
        raise InvalidInput(f"the .npy header promises {n_bytes} bytes of {dtype}; {remaining} came")
    array: NDArray[Any] = np.frombuffer(data, dtype, offset=stream.tell())
    try:
        array = array.reshape(shape, order="F" if fortran_order else "C")
    except (ValueError, TypeError):  # negative sides, true for 1, more axes than NumPy has: the product may still fit
        raise InvalidInput(f"the .npy header tells a shape that no array has: {shown(shape)}") from None
    return array.astype(dtype.newbyteorder("="), copy=False)
