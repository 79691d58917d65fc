"""Convolution and pooling against loops that are as slow as they are plain, on `(n, height, width, channels)`."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest

from nn.activations import Array
from nn.layers import Shape
from nn.spec import Conv2DSpec, PaddingName, Pool2DSpec
from tests.nn.support import DTYPES, Bench, assert_gradient, average_pool, central_differences, conv, max_pool

CONVOLUTIONS: dict[str, tuple[Shape, Conv2DSpec]] = {
    f"{shape} {kernel} {stride} {padding}": (shape, conv(3, kernel, stride=stride, padding=padding))
    for kernel in range(1, 6)
    for stride in range(1, 4)
    for padding in get_args(PaddingName)
    for shape in ((7, 6, 2), (5, 9, 1))
}
POOLS: dict[str, Pool2DSpec] = {
    f"{name} {size} {stride}": make(size, stride)
    for name, make in (("max", max_pool), ("average", average_pool))
    for size in (1, 2, 3)
    for stride in (None, 1, 2, 3)
}


def padded_like_tensorflow(x: Array, spec: Conv2DSpec) -> Array:
    """SAME: the output is `ceil(side / stride)` long; of an odd number of rows of 0 the odd one comes last."""
    if spec.padding == "valid":
        return x
    edges = []
    for side in x.shape[1:3]:
        needed = (math.ceil(side / spec.stride) - 1) * spec.stride + spec.kernel_size
        missing = max(needed - side, 0)
        edges.append((missing // 2, missing - missing // 2))
    return np.pad(x, [(0, 0), *edges, (0, 0)])


def convolved(x: Array, weight: Array, bias: Array, spec: Conv2DSpec) -> Array:
    padded, kernel, stride = padded_like_tensorflow(x, spec), spec.kernel_size, spec.stride
    height, width = ((side - kernel) // stride + 1 for side in padded.shape[1:3])
    y = np.empty((len(x), height, width, spec.filters))
    for n, i, j, f in np.ndindex(y.shape):
        window = padded[n, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
        y[n, i, j, f] = np.sum(window * weight[f]) + bias[f]
    return y


def pooled(x: Array, spec: Pool2DSpec) -> Array:
    size, stride = spec.pool_size, spec.stride or spec.pool_size
    height, width = ((side - size) // stride + 1 for side in x.shape[1:3])
    y = np.empty((len(x), height, width, x.shape[3]))
    for n, i, j, c in np.ndindex(y.shape):
        window = x[n, i * stride : i * stride + size, j * stride : j * stride + size, c]
        y[n, i, j, c] = window.max() if spec.type == "max_pool2d" else window.mean()
    return y


def assert_gradients(bench: Bench, x: Array, rng: np.random.Generator) -> None:
    """Of the input and of all arrays, one number after another."""
    dy = rng.standard_normal((len(x), *bench.layer.output_shape))

    def weighted_sum() -> float:
        return float(np.sum(bench.forward(x) * dy))

    bench.forward(x)
    dx = bench.backward(dy)
    assert dx is not None
    assert_gradient(dx, central_differences(weighted_sum, x))
    for name, found in bench.gradients.items():
        assert_gradient(found, central_differences(weighted_sum, bench.arrays[name]))


class TestConvolution:
    each_case = pytest.mark.parametrize(("shape", "spec"), CONVOLUTIONS.values(), ids=CONVOLUTIONS)

    @each_case
    def test_is_what_loops_give(self, shape: Shape, spec: Conv2DSpec, rng: np.random.Generator) -> None:
        bench = Bench(spec, shape, 2, rng)
        x = rng.standard_normal((2, *shape))
        expected = convolved(x, bench.arrays["weight"], bench.arrays["bias"], spec)
        assert bench.layer.output_shape == expected.shape[1:]
        np.testing.assert_allclose(bench.forward(x), expected, rtol=1e-12, atol=1e-12)

    @each_case
    def test_gradients_agree_with_central_differences(
        self, shape: Shape, spec: Conv2DSpec, rng: np.random.Generator
    ) -> None:
        assert_gradients(Bench(spec, shape, 1, rng), rng.standard_normal((1, *shape)), rng)

    @pytest.mark.parametrize(
        ("shape", "spec"),
        [
            ((1, 1, 3), conv(2, 5, padding="same")),
            ((1, 4, 1), conv(2, 4, padding="same", stride=3)),
            ((6, 1, 2), conv(1, 3, padding="same")),
            ((2, 3, 1), conv(2, 5, padding="same", stride=2)),
            ((4, 4, 2), conv(2, 4)),
            ((4, 5, 2), conv(2, 1, stride=5)),
            ((9, 8, 1), conv(2, 2, stride=7, padding="same")),
            ((3, 3, 1), conv(2, 1, stride=64, padding="same")),
        ],
        ids=str,
    )
    def test_pictures_hardly_larger_than_the_kernel_and_smaller(
        self, shape: Shape, spec: Conv2DSpec, rng: np.random.Generator
    ) -> None:
        bench = Bench(spec, shape, 2, rng)
        x = rng.standard_normal((2, *shape))
        expected = convolved(x, bench.arrays["weight"], bench.arrays["bias"], spec)
        np.testing.assert_allclose(bench.forward(x), expected, rtol=1e-12, atol=1e-12)
        assert_gradients(bench, x, rng)

    @pytest.mark.parametrize(
        ("padding", "kernel", "stride", "expected"),
        [
            ("valid", 2, 1, [[12, 16], [24, 28]]),
            # The row and the column of 0 are the last ones.
            ("same", 2, 1, [[12, 16, 9], [24, 28, 15], [15, 17, 9]]),
            ("same", 3, 1, [[12, 21, 16], [27, 45, 33], [24, 39, 28]]),
            ("same", 3, 2, [[12, 16], [24, 28]]),
            ("same", 2, 2, [[12, 9], [15, 9]]),
            ("same", 1, 2, [[1, 3], [7, 9]]),
        ],
    )
    def test_sums_by_hand(self, padding: PaddingName, kernel: int, stride: int, expected: list[list[float]]) -> None:
        bench = Bench(conv(1, kernel, stride=stride, padding=padding), (3, 3, 1), 1, np.random.default_rng(0))
        bench.arrays["weight"][...] = 1
        bench.arrays["bias"][...] = 0
        y = bench.forward(np.arange(1.0, 10).reshape(1, 3, 3, 1))
        np.testing.assert_allclose(y[0, :, :, 0], expected)

    def test_the_kernel_is_not_turned_over(self) -> None:
        bench = Bench(conv(1, 2), (2, 2, 1), 1, np.random.default_rng(0))
        bench.arrays["weight"][...] = np.array([[1, 10], [100, 1000]]).reshape(1, 2, 2, 1)
        bench.arrays["bias"][...] = 0.5
        assert bench.forward(np.array([1.0, 2, 3, 4]).reshape(1, 2, 2, 1)).item() == 4321.5

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_keeps_its_dtype(self, dtype: str, rng: np.random.Generator) -> None:
        bench = Bench(conv(2, padding="same", stride=2), (5, 4, 3), 2, rng, dtype=dtype)  # type: ignore[arg-type]
        found = {getattr(bench.space, name).dtype for name in ("columns", "dweight", "spread", "dcolumns", "home")}
        assert found == {np.dtype(dtype)}

    def test_counts_its_multiplications(self) -> None:
        layer = Bench(conv(3, 5), (9, 8, 2), 1, np.random.default_rng(0)).layer
        assert layer.multiply_adds == 5 * 4 * 3 * (5 * 5 * 2)

    def test_weights_decay_and_biases_do_not(self) -> None:
        layer = Bench(conv(3, 5), (9, 8, 2), 1, np.random.default_rng(0)).layer
        assert (layer.weight_shapes, layer.offset_shapes) == ({"weight": (3, 5, 5, 2)}, {"bias": (3,)})


class TestPools:
    each_spec = pytest.mark.parametrize("spec", POOLS.values(), ids=POOLS)
    # Of these the fields of 2 and of 3 leave nothing over, only rows, only columns, and both.
    each_shape = pytest.mark.parametrize("shape", [(6, 6, 2), (7, 6, 1), (6, 8, 2), (5, 7, 3)], ids=str)

    @each_spec
    @each_shape
    def test_are_what_loops_give(self, spec: Pool2DSpec, shape: Shape, rng: np.random.Generator) -> None:
        bench = Bench(spec, shape, 2, rng)
        x = rng.standard_normal((2, *shape))
        expected = pooled(x, spec)
        assert bench.layer.output_shape == expected.shape[1:]
        np.testing.assert_allclose(bench.forward(x), expected, rtol=1e-12, atol=1e-15)

    @each_spec
    @each_shape
    def test_gradients_agree_with_central_differences(
        self, spec: Pool2DSpec, shape: Shape, rng: np.random.Generator
    ) -> None:
        assert_gradients(Bench(spec, shape, 1, rng), rng.standard_normal((1, *shape)), rng)

    @each_spec
    def test_a_field_as_large_as_the_picture(self, spec: Pool2DSpec, rng: np.random.Generator) -> None:
        shape = (spec.pool_size, spec.pool_size, 2)
        bench = Bench(spec, shape, 2, rng)
        x = rng.standard_normal((2, *shape))
        np.testing.assert_allclose(bench.forward(x), pooled(x, spec))
        assert_gradients(bench, x, rng)

    @each_spec
    @each_shape
    def test_of_a_picture_all_alike_the_gradients_add_up_to_what_came_in(
        self, spec: Pool2DSpec, shape: Shape, rng: np.random.Generator
    ) -> None:
        """Where all numbers of a field are the largest, none may be counted twice."""
        bench = Bench(spec, shape, 2, rng)
        bench.forward(np.ones((2, *shape)))
        dy = rng.uniform(1, 2, (2, *bench.layer.output_shape))
        dx = bench.backward(dy)
        assert dx is not None
        np.testing.assert_allclose(dx.sum(axis=(1, 2)), dy.sum(axis=(1, 2)))

    @pytest.mark.parametrize("stride", [None, 1, 2, 3])
    @pytest.mark.parametrize("size", [1, 2, 3])
    @each_shape
    def test_among_many_ties_every_field_gives_its_gradient_to_one_of_its_largest(
        self, size: int, stride: int | None, shape: Shape, rng: np.random.Generator
    ) -> None:
        spec = max_pool(size, stride)
        bench = Bench(spec, shape, 1, rng)
        x = rng.integers(0, 3, (1, *shape)).astype(float)
        y = bench.forward(x)
        step = stride or size
        for field in np.ndindex(*y.shape):
            dy = np.zeros_like(y)
            dy[field] = 1
            dx = bench.backward(dy)
            assert dx is not None
            n, i, j, c = field
            window = (n, slice(i * step, i * step + size), slice(j * step, j * step + size), c)
            chosen = dx[window] == 1
            assert chosen.sum() == 1
            assert x[window][chosen] == y[field]
            assert np.count_nonzero(dx) == 1

    def test_what_is_left_over_at_the_end_is_left_out(self) -> None:
        x = np.arange(25.0).reshape(1, 5, 5, 1)
        largest = Bench(max_pool(2), (5, 5, 1), 1, np.random.default_rng(0))
        assert largest.forward(x)[0, :, :, 0].tolist() == [[6, 8], [16, 18]]
        dx = largest.backward(np.ones((1, 2, 2, 1)))
        assert dx is not None
        assert not dx[0, 4].any()
        assert not dx[0, :, 4].any()
        mean = Bench(average_pool(2), (5, 5, 1), 1, np.random.default_rng(0))
        assert mean.forward(x)[0, :, :, 0].tolist() == [[3, 5], [13, 15]]

    @each_spec
    def test_numbers_below_zero_are_not_taken_for_an_edge_of_zeros(
        self, spec: Pool2DSpec, rng: np.random.Generator
    ) -> None:
        x = -1 - rng.random((2, 7, 6, 2))
        assert Bench(spec, (7, 6, 2), 2, rng).forward(x).max() <= -1
