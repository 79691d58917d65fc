"""The body of a prediction request → raw samples for a model's features."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from nn.errors import InputError, ShapeError
from nn.features import Features, PixelFeatures, Raw
from nn.images import SIDE, to_mnist
from nn.schema import escape, shown
from service.errors import InvalidInput
from service.inference.pictures import decode, open_picture
from service.json_input import parse_json

T = TypeVar("T")
U = TypeVar("U")
FIELDS = ("inputs", "records", "model")


@dataclass(frozen=True)
class JSONBody:
    """`{"inputs": […]}` or `{"records": […]}`."""

    data: bytes

    @cached_property
    def document(self) -> object:
        return parse_json(self.data)

    @property
    def model(self) -> str | None:
        """The model that the body names."""
        name = self.document.get("model") if isinstance(self.document, Mapping) else None
        if name is not None and not isinstance(name, str):
            raise InputError.at("#/model", f"expected the name of a model; got {shown(name)}")
        return name

    def read(self, features: Features, max_samples: int) -> Raw:
        document = self.document
        if not isinstance(document, Mapping):
            raise InputError.at("#", f'expected an object with "inputs" or "records"; got {shown(document)}')
        for name in document:
            if name not in FIELDS:
                raise InputError.at(f"#/{escape(name)}", f"unknown field; the fields are {', '.join(FIELDS)}")
        if ("inputs" in document) == ("records" in document):
            raise InputError.at("#", 'expected either "inputs" or "records"')
        field = "records" if "records" in document else "inputs"
        samples = document[field]
        if not isinstance(samples, list) or not samples:
            raise ShapeError.at(f"#/{field}", f"expected a list of at least one sample; got {shown(samples)}")
        _check_count(len(samples), max_samples)
        if field == "records":
            return features.read_records(samples)
        return features.read_array(_numbers(samples, features.n_inputs))


@dataclass(frozen=True)
class NpyBody:
    """An array in NumPy's `.npy` format."""

    data: bytes
    model: None = None

    def read(self, features: Features, max_samples: int) -> Raw:
        array = _load_npy(self.data)
        if array.ndim:
            _check_count(len(array), max_samples)
        return features.read_array(array)


@dataclass(frozen=True)
class PictureBody:
    """Picture files, one a sample."""

    files: Sequence[bytes]
    max_pixels: int
    model: None = None

    def read(self, features: Features, max_samples: int) -> Raw:
        if not isinstance(features, PixelFeatures) or (features.height, features.width) != (SIDE, SIDE):
            raise InvalidInput(
                f"this model's inputs are of the kind {features.describe()['kind']}, not picture files: send JSON"
            )
        _check_count(len(self.files), max_samples)
        opened = [self._each(index, open_picture, data) for index, data in enumerate(self.files)]
        declared = sum(picture.width * picture.height for picture in opened)
        if declared > self.max_pixels:
            sizes = ", ".join(f"{picture.width}×{picture.height}" for picture in opened[:3])
            limit = f"the limit is {self.max_pixels:,} pixels a request"
            raise InvalidInput(f"the pictures declare {declared:,} pixels ({sizes}), and {limit}: send less")
        seen = [self._each(index, _read_picture, picture) for index, picture in enumerate(opened)]
        return np.stack(seen).reshape(len(seen), -1)

    def _each(self, index: int, read: Callable[[T], U], file: T) -> U:
        """Lets an error tell which of several files it is about."""
        try:
            return read(file)
        except (InvalidInput, InputError) as error:
            detail = error.detail if isinstance(error, InvalidInput) else error.problems[0].detail
            if len(self.files) == 1:
                raise InvalidInput(detail) from None
            raise InputError.at(f"#/{index}", detail) from None


Body = JSONBody | NpyBody | PictureBody


def _read_picture(picture: Image) -> NDArray[np.uint8]:
    return to_mnist(decode(picture))


def _check_count(n_samples: int, limit: int) -> None:
    if n_samples > limit:
        raise InvalidInput(f"expected at most {limit:,} samples in a request; got {n_samples:,}: send several requests")


def _numbers(rows: list[object], n_inputs: int) -> NDArray[np.float64]:
    """An array of rows, or of pictures as lists of rows, from JSON; nothing but numbers is taken for a number."""
    wanted = f"a row of {n_inputs} number{'s' if n_inputs > 1 else ''}"
    first = None
    for index, row in enumerate(rows):
        pointer = f"#/inputs/{index}"
        if not isinstance(row, list):
            raise ShapeError.at(pointer, f"expected {wanted}, in a list of its own; got {shown(row)}")
        parts = row if row and all(isinstance(part, list) for part in row) else None
        for at, part in enumerate([row] if parts is None else parts):
            if not {int, float}.issuperset(map(type, part)):
                place, value = next(item for item in enumerate(part) if type(item[1]) not in (int, float))
                inner = f"{pointer}/{place}" if parts is None else f"{pointer}/{at}/{place}"
                raise InputError.at(inner, f"expected a number; got {shown(value)}")
        shape = (len(row),) if parts is None else (len(row), *sorted({len(part) for part in parts}))
        first = shape if first is None else first
        if shape != first or len(shape) > 2:
            came = " × ".join(map(str, shape))
            raise ShapeError.at(pointer, f"expected {wanted}, and every row of the same shape; got {came}")
    try:
        return np.array(rows, np.float64)
    except OverflowError:
        raise InputError.at("#/inputs", "expected numbers within the range of float32; got a larger one") from None


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
    except InvalidInput:
        raise
    except Exception:  # noqa: BLE001, RUF100  (the header is a Python literal, and its reader raises whatever it meets)
        raise InvalidInput("not a .npy array: its header cannot be read; write it with numpy.save") from None
    if dtype.hasobject:
        raise InvalidInput("the .npy array holds Python objects, which are never unpickled: send plain numbers")
    if dtype.names is not None or dtype.kind not in "buif":
        raise InvalidInput(f"expected an array of real numbers; got one of {dtype}")
    remaining = len(data) - stream.tell()
    # A side that is larger than the file is not multiplied out: it may have thousands of digits.
    if (0 not in shape and any(side > remaining for side in shape)) or math.prod(shape) * dtype.itemsize != remaining:
        raise InvalidInput(f"the .npy header promises {dtype} of the shape {shown(shape)}; {remaining} bytes came")
    array: NDArray[Any] = np.frombuffer(data, dtype, offset=stream.tell())
    try:
        array = array.reshape(shape, order="F" if fortran_order else "C")
    # Negative sides, true for 1, more axes than NumPy has, 10³⁰ beside 0: their product may still fit.
    except (ValueError, TypeError, OverflowError):
        raise InvalidInput(f"the .npy header tells a shape that no array has: {shown(shape)}") from None
    return array.astype(dtype.newbyteorder("="), copy=False)
