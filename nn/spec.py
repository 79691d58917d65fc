"""The frozen description of a network and of its training.

This is the one list of layer, initializer, loss and optimizer names and of their ranges: request validation, the
OpenAPI page and the engine all follow from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from nn.schema import Length, Range

ActivationName = Literal["relu", "tanh", "sigmoid", "softmax", "identity"]
InitializerName = Literal["he", "xavier", "standard_normal"]
LossName = Literal["mean_squared_error", "cross_entropy", "binary_cross_entropy"]
DTypeName = Literal["float32", "float64"]
TaskName = Literal["classification", "binary_classification", "regression"]


@dataclass(frozen=True, kw_only=True)
class DenseSpec:
    """A fully connected layer: `x @ weight + bias`."""

    type: Literal["dense"] = "dense"
    units: Annotated[int, Range(minimum=1, maximum=1_000_000)]
    initializer: InitializerName = "he"


@dataclass(frozen=True, kw_only=True)
class ActivationSpec:
    """A function without parameters, applied to what the layer before gives."""

    type: ActivationName


LayerSpec = DenseSpec | ActivationSpec


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A sequence of layers; the input's shape comes from the data."""

    layers: Annotated[tuple[LayerSpec, ...], Length(1, 64)]
    dtype: DTypeName = "float32"


@dataclass(frozen=True, kw_only=True)
class SGDSpec:
    """Stochastic gradient descent, with momentum where it is above 0."""

    type: Literal["sgd"] = "sgd"
    learning_rate: Annotated[float, Range(above=0, maximum=1000)] = 0.01
    momentum: Annotated[float, Range(minimum=0, below=1)] = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov is a way to use momentum, and momentum is 0; set a momentum, 0.9 for instance")


@dataclass(frozen=True, kw_only=True)
class EarlyStoppingSpec:
    """Stops once the validation loss has not fallen by `min_delta` for `patience` epochs; restores the best weights."""

    patience: Annotated[int, Range(minimum=1, maximum=100_000)] = 5
    min_delta: Annotated[float, Range(minimum=0)] = 0.0


@dataclass(frozen=True, kw_only=True)
class TrainingSpec:
    """How a network is trained."""

    loss: LossName
    epochs: Annotated[int, Range(minimum=1, maximum=100_000)] = 10
    batch_size: Annotated[int, Range(minimum=1, maximum=65_536)] = 32
    seed: Annotated[int, Range(minimum=0, maximum=2**53 - 1)] = 1
    validation_fraction: Annotated[float, Range(minimum=0, maximum=0.9)] = 0.1
    optimizer: SGDSpec = SGDSpec()
    early_stopping: EarlyStoppingSpec | None = None
