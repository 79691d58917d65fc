"""A network's outputs → what a client is told."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn.features import PixelFeatures, Raw
from nn.model import Metadata, Model
from service.domain import JSONObject
from service.inference.pictures import as_base64


def predictions(model: Model, outputs: NDArray[Any]) -> list[JSONObject]:
    """One answer a row of `outputs`, `(n_samples, n_outputs)`.

    Numbers stay NumPy's, so that they are written with the digits that their dtype has; one that is not finite is
    written as null.
    """
    labels = model.metadata.task.labels
    if not labels:
        return [{"value": row} for row in outputs]
    if outputs.shape[1] == 1:
        outputs = np.concatenate([1 - outputs, outputs], axis=1)
    chosen = outputs.argmax(axis=1)
    return [
        {"label": labels[index], "probability": row[index], "probabilities": row}
        for index, row in zip(chosen.tolist(), outputs, strict=True)
    ]


def example_picture(metadata: Metadata) -> NDArray[Any]:
    """The first picture of a model's example, `(height, width)`."""
    features = metadata.features
    assert isinstance(features, PixelFeatures)
    first: NDArray[Any] = features.read_array(np.array(metadata.example["inputs"], np.float64))[0]
    return first.reshape(features.height, features.width)


def explanations(model: Model, raw: Raw) -> list[JSONObject]:
    """What the network saw of each sample: the picture as a PNG in base64, else the numbers that went in."""
    features = model.metadata.features
    if isinstance(features, PixelFeatures):
        return [{"png": as_base64(row.reshape(features.height, features.width))} for row in raw]
    inputs = np.empty((len(raw), features.n_inputs), model.network.dtype)
    features.encode(raw, inputs)
    return [{"inputs": row} for row in inputs]
