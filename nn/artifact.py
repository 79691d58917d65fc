"""A model as bytes: an `.npz` with its arrays and its metadata.

One member an array of the network (`layers.0.weight.npy`) and `metadata.npy`; equal models give equal bytes.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nn import npz
from nn.errors import ArtifactError, InputError
from nn.features import TableFeatures
from nn.losses import LOSSES
from nn.model import Metadata, Model
from nn.network import Network, array_shapes, build_layers
from nn.npz import Reader
from nn.schema import parse, to_json

FORMAT_VERSION = 2  # 1 was before convolutions: it has fewer fields, whose defaults say what it meant
READABLE = (1, 2)
MAX_METADATA = 8 * 2**20
MAX_SAMPLE = 2**26  # numbers that one sample may take in one layer, so that no file can ask for all memory there is


def dumps(model: Model) -> bytes:
    """The artifact of a model."""
    return npz.dumps(to_json(replace(model.metadata, format_version=FORMAT_VERSION)), model.network.arrays)


def loads(data: bytes) -> Model:
    """The model in an artifact. Raises `ArtifactError` for anything but what `dumps` gives."""
    with npz.opened(data, "artifact") as reader:
        metadata = _read_metadata(reader)
        return Model(_read_network(reader, metadata), metadata)


def _read_metadata(reader: Reader) -> Metadata:
    found = reader.metadata(MAX_METADATA)
    version = found.get("format_version") if isinstance(found, dict) else None
    if version not in READABLE or isinstance(version, bool):
        readable = " or ".join(map(str, READABLE))
        raise ArtifactError(
            f"expected format version {readable}; got {str(version)[:20]}; for a later one, update trainserve"
        )
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


def _read_network(reader: Reader, metadata: Metadata) -> Network:
    spec, loss = metadata.spec.network, LOSSES[metadata.spec.training.loss]
    shape = metadata.features.shape
    built = build_layers(spec, shape, loss.output)
    if max((layer.training_numbers for layer in built.values()), default=0) > MAX_SAMPLE:
        raise ArtifactError("a layer of the network would need too much memory for a single sample")
    dtype = np.dtype(spec.dtype)
    arrays = reader.arrays({name: (own, dtype) for name, own in array_shapes(built).items()})
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise ArtifactError(f"{name} holds numbers that are not finite")
        if name.endswith(".variance") and (values < 0).any():
            raise ArtifactError(f"{name} holds variances below 0")
    network = Network(spec, shape, loss.output)
    network.load(arrays)
    task = metadata.task
    n_outputs = task.n_outputs(loss)
    if network.output_shape != (n_outputs,) or task.name not in loss.tasks:
        raise ArtifactError(
            f"the network gives {network.output_shape} by {metadata.spec.training.loss}; "
            f"its task, {task.name}, needs ({n_outputs},)"
        )
    return network
