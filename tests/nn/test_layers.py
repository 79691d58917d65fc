from __future__ import annotations

import tracemalloc
from itertools import chain
from typing import get_args

import numpy as np
import pytest

from nn.activations import ACTIVATIONS
from nn.layers import Layer, Shape, array_shape, described
from nn.network import LAYERS
from nn.schema import type_names
from nn.spec import (
    ActivationName,
    ActivationSpec,
    DenseSpec,
    DropoutSpec,
    DTypeName,
    LayerSpec,
)
from tests.nn.support import (
    DTYPES,
    NAMED,
    Bench,
    assert_gradient,
    average_pool,
    central_differences,
    conv,
    max_pool,
)

ROW: Shape = (4,)
PICTURE: Shape = (5, 4, 3)

CASES: dict[str, tuple[LayerSpec, Shape]] = {
    "dense": (DenseSpec(units=3), ROW),
    **{name: (ActivationSpec(type=name), ROW) for name in get_args(ActivationName)},
    **{
        f"{name}, pictures": (ActivationSpec(type=name), PICTURE)
        for name in get_args(ActivationName)
        if name != "softmax"
    },
    "dropout": (DropoutSpec(rate=0.3), ROW),
    "dropout, pictures": (DropoutSpec(rate=0.3), PICTURE),
    "batch_norm": (NAMED["batch_norm"], ROW),
    "batch_norm, pictures": (NAMED["batch_norm"], PICTURE),
    "conv2d": (conv(2), PICTURE),
    "conv2d, same": (conv(2, padding="same", stride=2), PICTURE),
    "max_pool2d": (max_pool(), PICTURE),
    "max_pool2d, overlapping": (max_pool(3, 1), PICTURE),
    "average_pool2d": (average_pool(), PICTURE),
    "average_pool2d, overlapping": (average_pool(3, 1), PICTURE),
    "global_average_pool2d": (NAMED["global_average_pool2d"], PICTURE),
    "flatten": (NAMED["flatten"], PICTURE),
}
each_layer = pytest.mark.parametrize(("spec", "shape"), CASES.values(), ids=CASES)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def built(spec: LayerSpec, shape: Shape) -> Layer:  # type: ignore[type-arg]
    layer: Layer = LAYERS[spec.type](spec, shape)  # type: ignore[type-arg]
    return layer


def test_the_cases_have_every_kind_of_layer_that_the_spec_knows() -> None:
    known = set(chain.from_iterable(map(type_names, get_args(LayerSpec))))
    assert {spec.type for spec, _ in CASES.values()} == known == set(LAYERS)


class TestEveryLayer:
    @each_layer
    @pytest.mark.parametrize("n_samples", [1, 5])
    def test_gradients_agree_with_central_differences(
        self, spec: LayerSpec, shape: Shape, n_samples: int, rng: np.random.Generator
    ) -> None:
        bench = Bench(spec, shape, n_samples, rng)
        x = rng.standard_normal((n_samples, *shape))
        dy = rng.standard_normal((n_samples, *bench.layer.output_shape))

        def weighted_sum() -> float:
            return float(np.sum(bench.forward(x) * dy))

        bench.forward(x)
        dx = bench.backward(dy)
        assert dx is not None
        assert_gradient(dx, central_differences(weighted_sum, x))
        for name, found in bench.gradients.items():
            assert_gradient(found, central_differences(weighted_sum, bench.arrays[name]))

    @each_layer
    def test_without_a_buffer_for_it_there_is_no_gradient_of_the_input(
        self, spec: LayerSpec, shape: Shape, rng: np.random.Generator
    ) -> None:
        x = rng.standard_normal((2, *shape))
        without, both = (
            Bench(spec, shape, 2, np.random.default_rng(1), input_gradient=asked) for asked in (False, True)
        )
        for bench in (without, both):
            bench.forward(x)
        dy = rng.standard_normal((2, *both.layer.output_shape))
        both.backward(dy)
        assert without.backward(dy) is None
        for name, values in both.gradients.items():
            np.testing.assert_array_equal(without.gradients[name], values)

    @each_layer
    @each_dtype
    def test_buffers_are_reused_and_keep_their_dtype(
        self, spec: LayerSpec, shape: Shape, dtype: DTypeName, rng: np.random.Generator
    ) -> None:
        bench = Bench(spec, shape, 3, rng, dtype=dtype)
        layer, space = bench.layer, bench.space
        first, second = rng.standard_normal((2, *array_shape(shape, 3))).astype(dtype)
        for x in (first, second):
            before = x.copy()
            bench.forward(np.ones((3, *shape), dtype))  # once as a whole, for what a batch normalisation sums
            bench.backward(np.ones((3, *layer.output_shape), dtype))
            assert layer.forward(x, space) is bench.y
            assert layer.backward(np.ones_like(bench.y), space, bench.gradients) is bench.dx
            np.testing.assert_array_equal(x, before)
        assert bench.dx is not None
        dtypes = {bench.y.dtype, bench.dx.dtype, *(values.dtype for values in bench.gradients.values())}
        assert dtypes == {np.dtype(dtype)}
        assert space.dx is bench.dx

    @each_layer
    def test_what_a_pass_leaves_behind_does_not_touch_the_next(
        self, spec: LayerSpec, shape: Shape, rng: np.random.Generator
    ) -> None:
        xs = rng.standard_normal((3, 4, *shape))
        used, fresh = (Bench(spec, shape, 4, np.random.default_rng(1)) for _ in range(2))
        dys = rng.standard_normal((3, 4, *used.layer.output_shape))
        for x, dy in zip(xs[:2], dys[:2], strict=True):
            used.forward(x)
            used.backward(dy)
        np.testing.assert_array_equal(used.forward(xs[2]), fresh.forward(xs[2]))
        dx = used.backward(dys[2])
        assert dx is not None
        np.testing.assert_array_equal(dx, fresh.backward(dys[2]))
        assert np.isfinite(dx).all()
        for name, values in fresh.gradients.items():
            np.testing.assert_array_equal(used.gradients[name], values)
            assert np.isfinite(values).all()

    @each_layer
    @each_dtype
    def test_predictions_of_one_sample_are_those_among_others(
        self, spec: LayerSpec, shape: Shape, dtype: DTypeName, rng: np.random.Generator
    ) -> None:
        x = rng.standard_normal((5, *shape)).astype(dtype)
        all_at_once, one = (
            Bench(spec, shape, n, np.random.default_rng(1), dtype=dtype, training=False, input_gradient=False)
            for n in (5, 1)
        )
        together = all_at_once.forward(x)
        assert together.dtype == dtype
        assert together.shape == (5, *all_at_once.layer.output_shape)
        for i in range(5):
            np.testing.assert_allclose(one.forward(x[i : i + 1])[0], together[i], rtol=1e-5, atol=1e-6)

    @each_layer
    def test_a_prediction_has_no_buffers_for_the_way_back(
        self, spec: LayerSpec, shape: Shape, rng: np.random.Generator
    ) -> None:
        space = Bench(spec, shape, 3, rng, training=False, input_gradient=False).space
        names = chain.from_iterable(getattr(kind, "__slots__", ()) for kind in type(space).__mro__)
        held = {name: getattr(space, name) for name in names}
        full = {name for name, value in held.items() if isinstance(value, np.ndarray) and value.size}
        of_a_channel = {"sums", "mean", "factor", "means"}
        assert full <= {"y", "x", "columns", "patches", "across"} | of_a_channel


class TestDense:
    def test_by_hand(self) -> None:
        bench = Bench(DenseSpec(units=2), (2,), 2, np.random.default_rng(0))
        bench.arrays["weight"][...] = [[1, 2], [3, 4]]
        bench.arrays["bias"][...] = [10, 20]
        assert bench.forward(np.array([[1.0, 0], [1, 1]])).tolist() == [[11, 22], [14, 26]]
        dx = bench.backward(np.array([[1.0, 0], [0, 1]]))
        assert dx is not None
        assert dx.tolist() == [[1, 3], [2, 4]]
        assert bench.gradients["weight"].tolist() == [[1, 1], [0, 1]]
        assert bench.gradients["bias"].tolist() == [1, 1]

    def test_weights_decay_and_biases_do_not(self) -> None:
        layer = built(DenseSpec(units=2), (3,))
        assert (layer.weight_shapes, layer.offset_shapes, layer.statistic_shapes) == (
            {"weight": (3, 2)},
            {"bias": (2,)},
            {},
        )
        assert layer.multiply_adds == 6


class TestActivation:
    @pytest.mark.parametrize("name", get_args(ActivationName))
    def test_is_the_function_of_its_name(self, name: ActivationName, rng: np.random.Generator) -> None:
        x = rng.standard_normal((5, 4))
        expected = np.empty_like(x)
        ACTIVATIONS[name].forward(x.copy(), expected)
        bench = Bench(ActivationSpec(type=name), (4,), 5, rng)
        np.testing.assert_array_equal(bench.forward(x), expected)

    @pytest.mark.parametrize("name", get_args(ActivationName))
    def test_works_in_place_where_it_says_so(self, name: ActivationName, rng: np.random.Generator) -> None:
        """The network then gives it one array for input and output, and one for both gradients."""
        x, dy = rng.standard_normal((2, 5, 4))
        bench = Bench(ActivationSpec(type=name), (4,), 5, rng)
        y, dx = bench.forward(x), bench.backward(dy)
        layer, space = bench.layer, bench.space
        assert space.home is bench.dx
        if layer.in_place:
            space.y = x
        np.testing.assert_array_equal(layer.forward(x, space), y)
        space.dx[...] = dy
        assert dx is not None
        np.testing.assert_array_equal(layer.backward(space.dx, space, {}), dx)


class TestDropout:
    N = 200

    def bench(self, rate: float, seed: int = 1, dtype: DTypeName = "float64", *, training: bool = True) -> Bench:
        rng = np.random.default_rng(seed)
        return Bench(DropoutSpec(rate=rate), (500,), self.N, rng, dtype=dtype, training=training)

    @pytest.mark.parametrize("rate", [0, 0.1, 0.5, 0.9])
    @each_dtype
    def test_in_training_a_share_is_0_and_the_others_are_scaled(self, rate: float, dtype: DTypeName) -> None:
        y = self.bench(rate, dtype=dtype).forward(np.ones((self.N, 500), dtype))
        assert set(np.unique(y)) <= {np.dtype(dtype).type(0), np.dtype(dtype).type(1 / (1 - rate))}
        kept = y != 0
        assert kept.mean() == pytest.approx(1 - rate, abs=0.01)
        assert y.mean() == pytest.approx(1, abs=0.02 / (1 - rate))
        # No row and no column is left out, or kept, as a whole.
        if rate:
            assert kept.mean(axis=0) == pytest.approx(1 - rate, abs=0.2)
            assert kept.mean(axis=1) == pytest.approx(1 - rate, abs=0.2)

    @pytest.mark.parametrize("rate", [0, 0.5, 0.9])
    def test_in_prediction_it_does_nothing(self, rate: float, rng: np.random.Generator) -> None:
        x = rng.standard_normal((self.N, 500))
        np.testing.assert_array_equal(self.bench(rate, training=False).forward(x), x)

    def test_the_numbers_left_out_have_no_gradient_and_the_others_the_scaled(self, rng: np.random.Generator) -> None:
        bench = self.bench(0.5)
        mask = bench.forward(np.ones((self.N, 500)))
        dy = rng.standard_normal(mask.shape)
        dx = bench.backward(dy)
        assert dx is not None
        np.testing.assert_array_equal(dx, dy * mask)

    def test_each_draw_is_another_and_between_draws_it_stays(self) -> None:
        bench, x, rng = self.bench(0.5), np.ones((self.N, 500)), np.random.default_rng(2)
        first, again = bench.forward(x), bench.forward(x)
        np.testing.assert_array_equal(first, again)
        bench.layer.draw(bench.space, rng)  # type: ignore[attr-defined]
        second = bench.forward(x)
        assert np.mean(first == second) == pytest.approx(0.5, abs=0.01)

    def test_the_generator_decides_and_nothing_else(self) -> None:
        x = np.ones((self.N, 500))
        first = self.bench(0.5, seed=1).forward(x)
        np.random.default_rng(7).random(10)
        np.testing.assert_array_equal(self.bench(0.5, seed=1).forward(x), first)
        assert (self.bench(0.5, seed=2).forward(x) != first).any()

    def test_a_seed_leaves_out_the_same_numbers_in_float32(self) -> None:
        double, single = (self.bench(0.3, dtype=dtype).forward(np.ones((self.N, 500), dtype)) for dtype in DTYPES)
        np.testing.assert_array_equal(single != 0, double != 0)

    def test_of_pictures_each_number_for_itself(self) -> None:
        y = Bench(DropoutSpec(rate=0.5), (20, 10, 8), 30, np.random.default_rng(1)).forward(np.ones((30, 20, 10, 8)))
        for axis in range(4):
            assert (y != 0).mean(axis=axis).min() < 1
            assert (y != 0).mean(axis=axis).max() > 0
            assert (np.diff(y, axis=axis) != 0).mean() == pytest.approx(0.5, abs=0.02)


class TestFlatten:
    def test_goes_by_height_then_width_then_channels(self) -> None:
        x = np.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
        bench = Bench(NAMED["flatten"], (3, 4, 5), 2, np.random.default_rng(0))
        np.testing.assert_array_equal(bench.forward(x), x.reshape(2, -1))
        dx = bench.backward(x.reshape(2, -1))
        assert dx is not None
        np.testing.assert_array_equal(dx, x)


class TestGlobalAverage:
    def test_is_the_mean_of_each_channel(self, rng: np.random.Generator) -> None:
        x = rng.standard_normal((2, 3, 4, 5))
        bench = Bench(NAMED["global_average_pool2d"], (3, 4, 5), 2, rng)
        expected = [[x[n, :, :, c].sum() / 12 for c in range(5)] for n in range(2)]
        np.testing.assert_allclose(bench.forward(x), expected)
        dy = rng.standard_normal((2, 5))
        dx = bench.backward(dy)
        assert dx is not None
        np.testing.assert_allclose(dx, np.tile(dy[:, np.newaxis, np.newaxis] / 12, (1, 3, 4, 1)))


def test_building_allocates_nothing() -> None:
    tracemalloc.start()
    try:
        dense = built(DenseSpec(units=10**6), (10**6,))
        convolution = built(conv(4096, 64, padding="same"), (4096, 4096, 4096))
        for name in ("batch_norm", "max_pool2d", "flatten", "dropout", "global_average_pool2d"):
            built(NAMED[name], (4096, 4096, 4096))
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()
    assert dense.weight_shapes == {"weight": (10**6, 10**6)}
    assert dense.offset_shapes == {"bias": (10**6,)}
    assert convolution.weight_shapes == {"weight": (4096, 64, 64, 4096)}


@pytest.mark.parametrize(
    ("shape", "words"), [((3,), "rows of 3 numbers"), ((28, 20, 1), "pictures 28 × 20 × 1")], ids=str
)
def test_a_shape_in_words(shape: Shape, words: str) -> None:
    assert described(shape) == words
