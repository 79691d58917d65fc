from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest

from nn.initializers import DEVIATIONS as KNOWN
from nn.initializers import initialize
from nn.spec import Conv2DSpec, DenseSpec, InitializerName
from tests.nn.support import network

N_INPUTS, N_OUTPUTS = 300, 200
DEVIATIONS = {"he": math.sqrt(2 / 300), "xavier": math.sqrt(2 / 500), "standard_normal": 1.0}
each_initializer = pytest.mark.parametrize("name", get_args(InitializerName))


def test_every_name_has_its_deviation() -> None:
    assert set(KNOWN) == set(get_args(InitializerName)) == set(DEVIATIONS)


@each_initializer
def test_weights_are_normal_with_the_deviation_of_the_paper(name: InitializerName, rng: np.random.Generator) -> None:
    weight = np.empty((N_INPUTS, N_OUTPUTS))
    initialize(weight, name, rng, N_INPUTS, N_OUTPUTS)
    scaled = np.sort(weight.ravel() / DEVIATIONS[name])
    assert scaled.mean() == pytest.approx(0, abs=0.02)
    assert scaled.std() == pytest.approx(1, abs=0.02)
    within_one_deviation = np.mean(np.abs(scaled) < 1)
    assert within_one_deviation == pytest.approx(math.erf(1 / math.sqrt(2)), abs=0.01)


@each_initializer
def test_a_layer_counts_the_inputs_and_outputs_of_one_number(name: InitializerName) -> None:
    dense = network(N_INPUTS, DenseSpec(units=N_OUTPUTS, initializer=name))
    # A number of the output is a sum of 5 · 5 · 12, and one of the input goes into 5 · 5 · 8.
    convolution = network((6, 5, 12), Conv2DSpec(filters=8, kernel_size=5, initializer=name), "flatten")
    for net in (dense, convolution):
        assert net.arrays["layers.0.weight"].std() == pytest.approx(DEVIATIONS[name], rel=0.05)
        assert not net.arrays["layers.0.bias"].any()


@each_initializer
def test_a_seed_gives_the_same_weights_rounded_in_float32(name: InitializerName) -> None:
    double, single = np.empty((5, 4)), np.empty((5, 4), np.float32)
    initialize(double, name, np.random.default_rng(3), 5, 4)
    initialize(single, name, np.random.default_rng(3), 5, 4)
    np.testing.assert_array_equal(single, double.astype(np.float32))


def test_the_generator_decides_and_nothing_else(rng: np.random.Generator) -> None:
    first, second = np.empty((2, 5, 4))
    initialize(first, "he", rng, 5, 4)
    initialize(second, "he", rng, 5, 4)
    assert (first != second).all()
