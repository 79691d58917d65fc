"""The frozen description of a network and of its training.

This is the one list of layer, initializer, loss, optimizer and schedule names and of their ranges: request validation,
the OpenAPI page and the engine all follow from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from nn.schema import Length, Range

ActivationName = Literal["relu", "leaky_relu", "elu", "gelu", "softplus", "tanh", "sigmoid", "softmax", "identity"]
InitializerName = Literal["he", "xavier", "standard_normal"]
LossName = Literal["mean_squared_error", "mean_absolute_error", "huber", "cross_entropy", "binary_cross_entropy"]
PaddingName = Literal["valid", "same"]
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


@dataclass(frozen=True, kw_only=True)
class Conv2DSpec:
    """A convolution of pictures with `filters` square kernels, and a bias a filter."""

    type: Literal["conv2d"] = "conv2d"
    filters: Annotated[int, Range(minimum=1, maximum=4096)]
    kernel_size: Annotated[int, Range(minimum=1, maximum=64)] = 3
    stride: Annotated[int, Range(minimum=1, maximum=64)] = 1
    padding: PaddingName = "valid"
    initializer: InitializerName = "he"


@dataclass(frozen=True, kw_only=True)
class Pool2DSpec:
    """The largest or the mean value of each square field of a picture; what is left over at the end is left out."""

    type: Literal["max_pool2d", "average_pool2d"]
    pool_size: Annotated[int, Range(minimum=1, maximum=64)] = 2
    stride: Annotated[int, Range(minimum=1, maximum=64)] | None = None


@dataclass(frozen=True, kw_only=True)
class ReshapeSpec:
    """Pictures become rows of numbers: all of them one after another, or the mean of each channel."""

    type: Literal["flatten", "global_average_pool2d"]


@dataclass(frozen=True, kw_only=True)
class DropoutSpec:
    """In training, a share `rate` of the numbers is 0 and the others are scaled up to make up for it."""

    type: Literal["dropout"] = "dropout"
    rate: Annotated[float, Range(minimum=0, maximum=0.99)]


@dataclass(frozen=True, kw_only=True)
class BatchNormSpec:
    """Normalises each number, or channel, over the batch; a batch leaves the share `momentum` of the running mean."""

    type: Literal["batch_norm"] = "batch_norm"
    momentum: Annotated[float, Range(minimum=0, below=1)] = 0.9
    epsilon: Annotated[float, Range(above=0, maximum=1)] = 1e-5


LayerSpec = Conv2DSpec | Pool2DSpec | ReshapeSpec | DenseSpec | DropoutSpec | BatchNormSpec | ActivationSpec


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A sequence of layers; the input's shape comes from the data."""

    layers: Annotated[tuple[LayerSpec, ...], Length(1, 64)]
    dtype: DTypeName = "float32"


LearningRate = Annotated[float, Range(above=0, maximum=1000)]
WeightDecay = Annotated[float, Range(minimum=0, maximum=1000)]
Decay = Annotated[float, Range(minimum=0, below=1)]
Epsilon = Annotated[float, Range(above=0, maximum=1)]
ClassWeight = Annotated[float, Range(minimum=0, maximum=1_000_000)]


@dataclass(frozen=True, kw_only=True)
class SGDSpec:
    """Stochastic gradient descent, with momentum where it is above 0; `weight_decay` is an L2 penalty."""

    type: Literal["sgd"] = "sgd"
    learning_rate: LearningRate = 0.01
    momentum: Decay = 0.0
    nesterov: bool = False
    weight_decay: WeightDecay = 0.0

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov is a way to use momentum, and momentum is 0; set a momentum, 0.9 for instance")


@dataclass(frozen=True, kw_only=True)
class RMSPropSpec:
    """Steps divided by the root of a running mean of the squared gradients; `weight_decay` is an L2 penalty."""

    type: Literal["rmsprop"] = "rmsprop"
    learning_rate: LearningRate = 0.001
    rho: Decay = 0.9
    epsilon: Epsilon = 1e-8
    weight_decay: WeightDecay = 0.0


@dataclass(frozen=True, kw_only=True)
class AdamSpec:
    """Adam: steps by running means of the gradients and of their squares; `weight_decay` is an L2 penalty."""

    type: Literal["adam"] = "adam"
    learning_rate: LearningRate = 0.001
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    epsilon: Epsilon = 1e-8
    weight_decay: WeightDecay = 0.0


@dataclass(frozen=True, kw_only=True)
class AdamWSpec:
    """Adam with `weight_decay` decoupled from the gradient: each step takes off that share, times the rate."""

    type: Literal["adamw"] = "adamw"
    learning_rate: LearningRate = 0.001
    beta1: Decay = 0.9
    beta2: Decay = 0.999
    epsilon: Epsilon = 1e-8
    weight_decay: WeightDecay = 0.01


OptimizerSpec = SGDSpec | RMSPropSpec | AdamSpec | AdamWSpec


@dataclass(frozen=True, kw_only=True)
class ConstantSpec:
    """The optimizer's learning rate throughout."""

    type: Literal["constant"] = "constant"


@dataclass(frozen=True, kw_only=True)
class StepSpec:
    """The learning rate is multiplied by `factor` every so many epochs."""

    type: Literal["step"] = "step"
    every: Annotated[int, Range(minimum=1, maximum=100_000)] = 10
    factor: Annotated[float, Range(above=0, maximum=1)] = 0.1


@dataclass(frozen=True, kw_only=True)
class ExponentialSpec:
    """The learning rate is multiplied by `factor` in the course of each epoch, a little at every step."""

    type: Literal["exponential"] = "exponential"
    factor: Annotated[float, Range(above=0, maximum=1)] = 0.95


@dataclass(frozen=True, kw_only=True)
class CosineSpec:
    """After a linear warm-up, the learning rate falls along half a cosine to `final` of itself."""

    type: Literal["cosine"] = "cosine"
    warm_up: Annotated[float, Range(minimum=0, below=1)] = 0.0
    final: Annotated[float, Range(minimum=0, maximum=1)] = 0.0


@dataclass(frozen=True, kw_only=True)
class OneCycleSpec:
    """The learning rate rises from `initial` of itself to the whole, and falls to `final`, both along a cosine."""

    type: Literal["one_cycle"] = "one_cycle"
    rise: Annotated[float, Range(above=0, below=1)] = 0.3
    initial: Annotated[float, Range(above=0, maximum=1)] = 0.04
    final: Annotated[float, Range(minimum=0, maximum=1)] = 0.0001


@dataclass(frozen=True, kw_only=True)
class PlateauSpec:
    """The learning rate is multiplied by `factor` when the loss has not fallen by `min_delta` for `patience` epochs."""

    type: Literal["reduce_on_plateau"] = "reduce_on_plateau"
    patience: Annotated[int, Range(minimum=1, maximum=100_000)] = 3
    factor: Annotated[float, Range(above=0, below=1)] = 0.1
    min_delta: Annotated[float, Range(minimum=0)] = 0.0


ScheduleSpec = ConstantSpec | StepSpec | ExponentialSpec | CosineSpec | OneCycleSpec | PlateauSpec


@dataclass(frozen=True, kw_only=True)
class AugmentationSpec:
    """How far pictures are distorted, at most: pixels (`scale` a fraction, `rotation` and `shear` degrees)."""

    shift: Annotated[float, Range(minimum=0, maximum=100)] = 0.0  # pixels, either axis
    rotation: Annotated[float, Range(minimum=0, maximum=180)] = 0.0  # degrees, either way
    scale: Annotated[float, Range(minimum=0, maximum=0.9)] = 0.0  # fraction: 0.1 scales by 0.9 to 1.1, each axis
    shear: Annotated[float, Range(minimum=0, maximum=60)] = 0.0  # degrees
    elastic: Annotated[float, Range(minimum=0, maximum=100)] = 0.0  # pixels: root mean square of the displacement
    smoothness: Annotated[float, Range(above=0, maximum=100)] = 4.0  # pixels: deviation of the Gaussian behind it


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
    optimizer: OptimizerSpec = SGDSpec()
    schedule: ScheduleSpec = ConstantSpec()
    clip_norm: Annotated[float, Range(above=0)] | None = None
    label_smoothing: Annotated[float, Range(minimum=0, below=1)] = 0.0
    class_weights: Annotated[tuple[ClassWeight, ...], Length(1, 10_000)] | None = None
    augmentation: AugmentationSpec | None = None
    early_stopping: EarlyStoppingSpec | None = None
