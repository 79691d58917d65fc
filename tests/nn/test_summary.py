from __future__ import annotations

import math

import numpy as np
import pytest

from nn import NetworkSpec, SpecError
from nn.layers import Shape
from nn.network import Network
from nn.spec import DTypeName
from nn.summary import summarize
from tests.nn.support import DTYPES, Shorthand, average_pool, conv, layers, max_pool

NETWORKS: dict[str, tuple[Shape, tuple[Shorthand, ...]]] = {
    "rows": ((5,), (8, "relu", "batch_norm", 4, "softmax")),
    "pictures": ((9, 7, 1), (conv(3), "batch_norm", "gelu", average_pool(), "flatten", "dropout", 4, "softmax")),
    "pictures as rows": ((9, 7, 1), (4, "softmax")),
    "no output function": ((9, 7, 1), (conv(3, stride=2), "global_average_pool2d", 4)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("which", NETWORKS)
class TestAgainstANetwork:
    def test_the_sums(self, which: str, dtype: DTypeName) -> None:
        shape, shorthand = NETWORKS[which]
        spec = NetworkSpec(layers=layers(*shorthand), dtype=dtype)
        summary, network = summarize(spec, shape, "softmax"), Network(spec, shape, "softmax")
        assert summary.input_shape == network.input_shape
        assert summary.layers[-1].output_shape == network.output_shape
        assert summary.parameters == network.vector.size
        assert summary.array_bytes == sum(array.nbytes for array in network.arrays.values())
        assert summary.multiply_adds == sum(layer.multiply_adds for layer in network.layers.values())

    def test_a_row_a_layer_of_the_spec(self, which: str, dtype: DTypeName) -> None:
        shape, shorthand = NETWORKS[which]
        spec = NetworkSpec(layers=layers(*shorthand), dtype=dtype)
        summary = summarize(spec, shape, "softmax")
        assert [layer.index for layer in summary.layers] == list(range(len(spec.layers)))
        assert [layer.type for layer in summary.layers] == [layer.type for layer in spec.layers]
        for layer in summary.layers:
            assert layer.activation_bytes == np.dtype(dtype).itemsize * math.prod(layer.output_shape)


def test_the_numbers_by_hand() -> None:
    shorthand = (conv(8, padding="same"), "batch_norm", "relu", max_pool(), "flatten", 10, "softmax")
    summary = summarize(NetworkSpec(layers=layers(*shorthand)), (28, 28, 1), "softmax")
    assert [
        (layer.output_shape, layer.parameters, layer.multiply_adds, layer.array_bytes) for layer in summary.layers
    ] == [
        ((28, 28, 8), 8 * 9 + 8, 28 * 28 * 8 * 9, 4 * 80),
        ((28, 28, 8), 16, 28 * 28 * 8, 4 * 32),  # mean and variance are kept and not trained
        ((28, 28, 8), 0, 0, 0),  # though it is the pool that is done first
        ((14, 14, 8), 0, 0, 0),
        ((1568,), 0, 0, 0),
        ((10,), 15_690, 15_680, 4 * 15_690),
        ((10,), 0, 0, 0),  # though it is the loss that does it
    ]
    assert summary.activation_bytes == 4 * (3 * 28 * 28 * 8 + 14 * 14 * 8 + 1568 + 10 + 10)


def test_nothing_is_allocated() -> None:
    summary = summarize(NetworkSpec(layers=layers(1_000_000, 1_000_000)), (1_000_000,), "identity")
    assert summary.parameters == 2 * (10**12 + 10**6)


def test_what_does_not_fit_is_told_with_its_place() -> None:
    with pytest.raises(SpecError, match="#/network/layers/2"):
        summarize(NetworkSpec(layers=layers("flatten", 4, conv(3))), (9, 7, 1), "softmax")
