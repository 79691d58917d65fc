"""Neural networks in NumPy: a spec, a fit, an artifact."""

from nn.arrays import ArrayModel, fit_arrays
from nn.artifact import dumps, loads
from nn.errors import ArtifactError, DivergedError, InputError, NNError, ShapeError, SpecError
from nn.fitting import Epoch, FitResult, Samples, fit
from nn.model import Model, RunSpec
from nn.network import Network
from nn.run import complete, train
from nn.spec import NetworkSpec, TrainingSpec
from nn.version import __version__

__all__ = [
    "ArrayModel",
    "ArtifactError",
    "DivergedError",
    "Epoch",
    "FitResult",
    "InputError",
    "Model",
    "NNError",
    "Network",
    "NetworkSpec",
    "RunSpec",
    "Samples",
    "ShapeError",
    "SpecError",
    "TrainingSpec",
    "__version__",
    "complete",
    "dumps",
    "fit",
    "fit_arrays",
    "loads",
    "train",
]
