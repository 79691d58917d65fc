"""Initial weights, drawn from the generator that drives a run."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from nn.activations import Array
from nn.spec import InitializerName

# The standard deviation of the normal distribution, from the number of inputs and of outputs.
DEVIATIONS: dict[InitializerName, Callable[[int, int], float]] = {
    # K. He et al., Delving Deep into Rectifiers, 2015, equation 10.
    "he": lambda n_inputs, n_outputs: math.sqrt(2 / n_inputs),
    # X. Glorot and Y. Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010.
    "xavier": lambda n_inputs, n_outputs: math.sqrt(2 / (n_inputs + n_outputs)),
    "standard_normal": lambda n_inputs, n_outputs: 1.0,
}


def initialize(weight: Array, name: InitializerName, rng: np.random.Generator, n_inputs: int, n_outputs: int) -> None:
    """Fills `weight` in place with normal numbers of mean 0, as it suits so many inputs and outputs of one number."""
    # Drawn in float64 whatever the dtype, so that a seed gives the same network, rounded, in float32.
    weight[...] = rng.standard_normal(weight.shape) * DEVIATIONS[name](n_inputs, n_outputs)
