"""Pictures of a run: the loss history, and for a regression of one input the data beside the prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nn import datasets
from nn.features import NumberFeatures
from nn.fitting import FitResult
from nn.model import Model
from service.errors import ServiceError

try:
    from matplotlib.figure import Figure
except ImportError:
    raise ServiceError(
        "--plot needs matplotlib beside trainserve; in a checkout: .venv/bin/pip install matplotlib"
    ) from None


def check(path: Path) -> None:
    """Raises `ServiceError` where a picture of this name could not be written."""
    known = Figure().canvas.get_supported_filetypes()
    if path.suffix.lstrip(".") not in known:
        raise ServiceError(f"a plot cannot be written to {path}: expected a name that ends in .{', .'.join(known)}")


def draw(model: Model, result: FitResult, path: Path) -> None:
    """Writes the picture; its format follows from the file's name."""
    features = model.metadata.features
    fitted = isinstance(features, NumberFeatures) and features.n_inputs == 1
    figure = Figure(figsize=(11 if fitted else 6, 4), layout="constrained")
    history = figure.add_subplot(1, 2 if fitted else 1, 1)
    epochs = [epoch.epoch for epoch in result.epochs]
    history.plot(epochs, [epoch.training["loss"] for epoch in result.epochs], label="training")
    if result.epochs[-1].validation:
        history.plot(epochs, [epoch.validation["loss"] for epoch in result.epochs], label="validation")
    history.set(xlabel="epoch", ylabel=model.metadata.spec.training.loss.replace("_", " "), yscale="log")
    history.legend()
    if fitted:
        data = datasets.get(model.metadata.spec.dataset).load()
        x = np.linspace(data.inputs.min(), data.inputs.max(), 400)[:, np.newaxis]
        fit = figure.add_subplot(1, 2, 2)
        fit.scatter(data.inputs[:, 0], data.targets[:, 0], s=4, alpha=0.4, label="data")
        fit.plot(x[:, 0], model.predict(x)[:, 0], color="C3", label="prediction")
        fit.set(xlabel="x", ylabel="y")
        fit.legend()
    figure.savefig(path, dpi=120)
