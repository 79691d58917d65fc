"""A model as bytes: an uncompressed `.npz` that any NumPy reads, written so that equal models give equal bytes.

One member a parameter (`layers.0.weight.npy`) and `metadata.npy`, the UTF-8 bytes of a JSON object. Nothing is ever
unpickled, and no size that the file claims is believed before it is compared with what the metadata call for.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn.errors import ArtifactError, InputError, SpecError
from nn.features import TableFeatures
from nn.losses import LOSSES
from nn.model import Metadata, Model
from nn.network import Network, build_layers, parameter_shapes
from nn.schema import parse, to_json

FORMAT_VERSION = 1
METADATA = "metadata"
MAX_METADATA = 8 * 2**20
NPY_MAGIC = b"\x93NUMPY\x01\x00"


def dumps(model: Model) -> bytes:
    """The artifact of a model."""
    text = json.dumps(to_json(model.metadata), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    members: dict[str, NDArray[Any]] = {METADATA: np.frombuffer(text.encode(), np.uint8), **model.network.parameters}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in members.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            # A ZipInfo made by hand carries the year 1980 and no clock.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
    return buffer.getvalue()


def loads(data: bytes) -> Model:
    """The model in an artifact. Raises `ArtifactError` for anything but what `dumps` gives."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_members(archive, len(data))
            metadata = _read_metadata(archive)
            return Model(_read_network(archive, metadata, len(data)), metadata)
    except ArtifactError:
        raise
    except SpecError as error:
        raise ArtifactError(f"the metadata of the artifact cannot be used: {error}") from None
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, OverflowError, RuntimeError, MemoryError) as error:
        # zipfile raises all of these for files that are cut, patched or made to harm.
        raise ArtifactError(f"not a whole .npz file that trainserve wrote: {error}") from None


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    members = archive.infolist()
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        raise ArtifactError("the artifact has two members of one name")
    if f"{METADATA}.npy" not in names:
        raise ArtifactError(f"not an artifact of trainserve: it has no member {METADATA}.npy")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            raise ArtifactError("a member of the artifact is compressed; trainserve stores them plain")
    if sum(member.file_size for member in members) > size:
        raise ArtifactError("the members of the artifact claim more bytes than the file has")


def _read_metadata(archive: zipfile.ZipFile) -> Metadata:
    size = archive.getinfo(f"{METADATA}.npy").file_size
    if size > MAX_METADATA:
        raise ArtifactError(f"expected at most {MAX_METADATA} bytes of metadata; got {size}")
    text = _read_member(archive, METADATA, np.dtype(np.uint8), None).tobytes()
    try:
        found = json.loads(text)
        # Python reads half a surrogate pair, which is no text, and would stumble when it has to write it.
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise ArtifactError(f"{METADATA}.npy is not JSON in UTF-8") from None
    version = found.get("format_version") if isinstance(found, dict) else None
    if version != FORMAT_VERSION:
        raise ArtifactError(f"expected format version {FORMAT_VERSION}; got {str(version)[:20]}")
    metadata = parse(Metadata, found)
    _check_example(metadata)
    return metadata


def _check_example(metadata: Metadata) -> None:
    """The example goes out to whoever asks for one, so it has to be a request that the model itself takes."""
    features, example = metadata.features, metadata.example
    name = "records" if isinstance(features, TableFeatures) else "inputs"
    if set(example) != {name} or not isinstance(example[name], list):
        raise ArtifactError(f"the example of the artifact must be an object with a list of {name} and nothing else")
    try:
        if isinstance(features, TableFeatures):
            features.read_records(example[name])
        else:
            features.read_array(np.array(example[name], np.float64))
    except (InputError, TypeError, ValueError, OverflowError):
        raise ArtifactError("the example of the artifact is not a request that its model takes") from None


def _read_network(archive: zipfile.ZipFile, metadata: Metadata, size: int) -> Network:
    spec, loss = metadata.spec.network, LOSSES[metadata.spec.training.loss]
    input_shape = (metadata.features.n_inputs,)
    built = build_layers(spec, input_shape, loss.output)
    shapes = parameter_shapes(built)
    expected, found = {f"{name}.npy" for name in (METADATA, *shapes)}, set(archive.namelist())
    if expected != found:
        raise ArtifactError(
            f"the members are not those of the network it describes: missing {sorted(expected - found)[:5]}, "
            f"not known {sorted(name[:60] for name in found - expected)[:5]}"
        )
    dtype = np.dtype(spec.dtype)
    if sum(map(math.prod, shapes.values())) * dtype.itemsize > size:
        raise ArtifactError("the network that the artifact describes is larger than the file")
    parameters = {name: _read_member(archive, name, dtype, shape) for name, shape in shapes.items()}
    for name, values in parameters.items():
        if not np.isfinite(values).all():
            raise ArtifactError(f"{name} holds numbers that are not finite")
    network = Network(spec, input_shape, loss.output)
    network.load(parameters)
    task = metadata.task
    n_outputs = task.n_outputs(loss)
    if network.output_shape != (n_outputs,) or task.name not in loss.tasks:
        raise ArtifactError(
            f"the network gives {network.output_shape} by {metadata.spec.training.loss}; "
            f"its task, {task.name}, needs ({n_outputs},)"
        )
    return network


def _read_member(
    archive: zipfile.ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...] | None
) -> NDArray[Any]:
    """The array in a member, its header and size compared with what is expected; no shape: one axis."""
    content = archive.read(f"{name}.npy")
    start = len(NPY_MAGIC) + 2 + int.from_bytes(content[len(NPY_MAGIC) : len(NPY_MAGIC) + 2], "little")
    header = content[len(NPY_MAGIC) + 2 : start].decode("latin-1").rstrip()
    n_bytes = max(0, len(content) - start)
    if shape is None:
        shape = (n_bytes // dtype.itemsize,)
    # The header is a Python literal. What a stranger wrote is compared with NumPy's own words and never evaluated.
    expected = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': {shape}, }}"
    if not content.startswith(NPY_MAGIC) or header != expected or n_bytes != math.prod(shape) * dtype.itemsize:
        raise ArtifactError(
            f"{name}.npy: expected .npy 1.0 with the header {expected}; got {header[:100]!a} and {n_bytes} bytes"
        )
    return np.frombuffer(content, dtype, offset=start).reshape(shape)
