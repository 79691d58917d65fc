"""The weights of a model as safetensors, and weights from there.

The arrays have the names and shapes that they have in the artifact; what else is told of the version lies as JSON under
the one key `trainserve` of the file's metadata, since the library writes several in no fixed order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np

from nn.activations import Array
from nn.errors import ArtifactError
from nn.model import Model
from nn.schema import JSON
from service.errors import InvalidInput, ServiceError
from service.exports.source import NEEDED, Source
from service.json_input import parse_json

try:
    from safetensors import SafetensorError, deserialize
    from safetensors.numpy import save
except ImportError:
    raise ServiceError(NEEDED) from None

VERSION = version("safetensors")
KEY = "trainserve"
DTYPES = {"F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8"}


@dataclass(frozen=True)
class Weights:
    """Arrays by name, and the description of the run that made them, where the file has one that trainserve wrote."""

    arrays: dict[str, Array]
    spec: JSON | None


def dumps(model: Model, source: Source) -> bytes:
    """The safetensors file of a model; equal models give equal bytes."""
    arrays = {name: np.ascontiguousarray(array) for name, array in model.network.arrays.items()}
    return bytes(save(arrays, {KEY: json.dumps(source.told(model.metadata))}))


def loads(data: bytes) -> Weights:
    """The weights in a safetensors file, in float16, float32 (which bfloat16 becomes) or float64.

    Raises `ArtifactError` for anything that is not such a file.
    """
    try:
        members = deserialize(data)
    except SafetensorError as error:
        raise ArtifactError(f"not a safetensors file that is whole: {str(error)[:200]}") from None
    arrays = {}
    for name, member in members:
        dtype = member["dtype"]
        if dtype not in DTYPES:
            raise ArtifactError(f"{name[:60]}: expected float16, bfloat16, float32 or float64; got {dtype}")
        array = np.frombuffer(member["data"], DTYPES[dtype]).reshape(member["shape"])
        if dtype == "BF16":  # the upper half of a float32
            array = (array.astype(np.uint32) << 16).view(np.float32)
        arrays[name] = array
    return Weights(arrays, _spec(data))


def _spec(data: bytes) -> JSON | None:
    # The library has read this header already: JSON, in which the metadata are text by name.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    text = (header.get("__metadata__") or {}).get(KEY)
    try:
        told = None if text is None else parse_json(text.encode())
    except InvalidInput as error:
        raise ArtifactError(f"the metadata of the safetensors file cannot be read: {error}") from None
    return told.get("spec") if isinstance(told, dict) else None
