from __future__ import annotations

import copy
import pickle
import sys
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from nn import InputError, Network, NetworkSpec, ShapeError, SpecError
from nn.activations import ACTIVATIONS, Array
from nn.layers import PICTURES, Shape
from nn.losses import LOSSES
from nn.network import BLOCK_NUMBERS, EVALUATION_BLOCK, block_size, build_layers
from nn.schema import parse
from nn.spec import ActivationName, ActivationSpec, DropoutSpec, DTypeName, LossName
from nn.tape import Tape
from tests.nn.support import (
    BODIES,
    DTYPES,
    EVERYTHING,
    GLOBAL,
    LARGER,
    PICTURE,
    ROW,
    Shorthand,
    average_pool,
    conv,
    layers,
    max_pool,
    network,
    unsettle,
)

each_body = pytest.mark.parametrize(("shape", "body"), BODIES.values(), ids=BODIES)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
REAL = ("bool", "int8", "uint8", "int32", "uint64", "float16", "float32", "float64", "longdouble")


class TestArrays:
    def test_have_names_and_are_views_into_one_vector_weights_first(self) -> None:
        net = network(PICTURE, conv(3, 2), "batch_norm", "relu", GLOBAL, 2)
        assert {name: values.shape for name, values in net.arrays.items()} == {
            "layers.0.weight": (3, 2, 2, 2),
            "layers.0.bias": (3,),
            "layers.1.scale": (3,),
            "layers.1.shift": (3,),
            "layers.1.mean": (3,),
            "layers.1.variance": (3,),
            "layers.4.weight": (3, 2),
            "layers.4.bias": (2,),
        }
        weights = ["layers.0.weight", "layers.4.weight"]
        offsets = ["layers.0.bias", "layers.1.scale", "layers.1.shift", "layers.4.bias"]
        in_order = [net.arrays[name].ravel() for name in weights + offsets]
        np.testing.assert_array_equal(net.vector, np.concatenate(in_order))
        assert net.n_weights == sum(net.arrays[name].size for name in weights)
        statistics = [net.arrays[f"layers.1.{name}"] for name in ("mean", "variance")]
        np.testing.assert_array_equal(net.statistics, np.concatenate(statistics))

    def test_whoever_writes_into_the_vector_writes_into_the_network(self) -> None:
        net = network(3, 4, "relu", 2)
        net.vector[...] = 0
        net.arrays["layers.2.bias"][...] = [1, 2]
        assert net.vector[-2:].tolist() == [1, 2]
        assert net.logits(np.ones((1, 3))).tolist() == [[1, 2]]

    def test_the_tenth_layer_comes_behind_the_second(self) -> None:
        net = network(1, *([1] * 12))
        assert list(net.arrays) == [f"layers.{at}.{name}" for at in range(12) for name in ("weight", "bias")]
        assert set(net.of_layer(1, net.vector)) == {"weight", "bias"}

    def test_the_part_of_a_vector_that_belongs_to_a_layer(self) -> None:
        net = network(3, 4, "relu", 2)
        gradients = np.zeros_like(net.vector)
        own = net.of_layer(2, gradients)
        assert {name: values.shape for name, values in own.items()} == {"weight": (4, 2), "bias": (2,)}
        own["bias"][...] = 1
        assert np.flatnonzero(gradients).tolist() == [gradients.size - 2, gradients.size - 1]
        assert net.of_layer(1, gradients) == {}

    def test_the_seed_decides_the_initial_numbers(self) -> None:
        one, same, other = (network(LARGER, *EVERYTHING, seed=seed).vector for seed in (1, 1, 2))
        np.testing.assert_array_equal(one, same)
        assert (one != other).any()

    @each_dtype
    def test_load_gives_another_network_the_same_answers(self, dtype: DTypeName, rng: np.random.Generator) -> None:
        trained = unsettle(network(LARGER, *EVERYTHING, dtype=dtype), rng)
        x = rng.standard_normal((5, *LARGER))
        loaded = Network(trained.spec, LARGER, "identity")
        assert not loaded.vector.any()
        loaded.load(trained.arrays)
        np.testing.assert_array_equal(loaded.predict(x), trained.predict(x))
        trained.vector[...] = 0
        assert loaded.vector.any()

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"layers.0.weight": np.ones((3, 2))}, "expected layers.0.weight, layers.0.bias; got layers.0.weight"),
            (
                {"layers.0.weight": np.ones((3, 2)), "layers.0.bias": np.ones((1, 2))},
                r"layers.0.bias: expected shape \(2,\); got \(1, 2\)",
            ),
        ],
    )
    def test_load_refuses_what_is_not_its_own(self, arrays: dict[str, Array], message: str) -> None:
        with pytest.raises(ShapeError, match=message):
            network(3, 2).load(arrays)

    def test_describing_a_huge_network_allocates_nothing(self) -> None:
        rows = NetworkSpec(layers=layers(10**6, "batch_norm", "gelu", "dropout", 10**6))
        pictures = NetworkSpec(
            layers=layers(conv(4096, 64, padding="same"), "batch_norm", "relu", max_pool(), "flatten", 10**6)
        )
        tracemalloc.start()
        try:
            shapes = [layer.output_shape for layer in build_layers(rows, (10**6,), "identity").values()]
            assert shapes == [(10**6,)] * 5
            built = build_layers(pictures, (4096, 4096, 1), "identity")
            assert tracemalloc.get_traced_memory()[1] < 200_000
        finally:
            tracemalloc.stop()
        assert built[5].weight_shapes == {"weight": (2048 * 2048 * 4096, 10**6)}


class TestWhatComesIn:
    @pytest.mark.parametrize("given", REAL)
    @pytest.mark.parametrize("shape", [ROW, PICTURE], ids=["rows", "pictures"])
    @each_dtype
    def test_real_numbers_of_any_kind_are_converted(
        self, shape: Shape, dtype: DTypeName, given: str, rng: np.random.Generator
    ) -> None:
        body = ("tanh", 4, "sigmoid") if shape == ROW else (conv(2, 2), "tanh", "flatten")
        net = network(shape, *body, 2, loss="cross_entropy", dtype=dtype)
        x = rng.integers(0, 3, (5, *shape)).astype(given)
        for method in (net.logits, net.predict):
            found = method(x)
            assert found.dtype == dtype
            np.testing.assert_array_equal(found, method(x.astype(dtype)))

    @each_body
    def test_a_float32_network_answers_as_a_float64_one_but_for_rounding(
        self, shape: Shape, body: tuple[Shorthand, ...], rng: np.random.Generator
    ) -> None:
        double, single = (network(shape, *body, 2, dtype=dtype) for dtype in ("float64", "float32"))
        single.load(unsettle(double, rng).arrays)
        x = rng.standard_normal((5, *shape))
        found = single.predict(x)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, double.predict(x), rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize(
        "given", ["complex64", "complex128", "object", "U3", "S3", "datetime64[s]", "timedelta64[s]"]
    )
    def test_what_is_no_real_number_is_refused(self, given: str) -> None:
        x = np.zeros((2, 3), given)
        for method in (network(3, 2).logits, network(3, 2).predict):
            with pytest.raises(
                InputError, match=f"expected real numbers; got an array of {x.dtype}".replace("[", r"\[")
            ):
                method(x)

    @pytest.mark.parametrize("shape", [(), (3,), (2, 4), (2, 3, 1), (2, 0)])
    def test_rows_of_another_shape_are_refused(self, shape: Shape) -> None:
        with pytest.raises(ShapeError, match=r"expected samples of shape \(3,\)"):
            network(3, 2).logits(np.ones(shape))

    @pytest.mark.parametrize("shape", [(5, 4, 2), (3, 5, 4), (3, 5, 4, 1), (3, 4, 5, 2), (3, 2, 5, 4), (3, 40)])
    def test_pictures_of_another_shape_are_refused(self, shape: Shape) -> None:
        with pytest.raises(ShapeError, match=r"expected samples of shape \(5, 4, 2\)"):
            network(PICTURE, "flatten", 2).logits(np.ones(shape))

    def test_without_layers_for_them_pictures_are_rows(self) -> None:
        net = network(PICTURE, "batch_norm", 2)
        assert net.input_shape == (40,)
        assert net.predict(np.ones((3, 40))).shape == (3, 2)

    @each_body
    def test_an_array_that_is_not_contiguous_and_may_not_be_written(
        self, shape: Shape, body: tuple[Shorthand, ...], rng: np.random.Generator
    ) -> None:
        """An attempt to work in place on what is the caller's would raise."""
        net = unsettle(network(shape, *body, 2), rng)
        x = rng.standard_normal((5, *shape))
        x.flags.writeable = False
        expected = net.predict(x)
        np.testing.assert_array_equal(net.predict(np.asfortranarray(x)), expected)
        apart = np.repeat(x, 2, axis=0)[::2]
        np.testing.assert_array_equal(net.predict(apart), expected)

    @each_body
    @each_dtype
    @pytest.mark.parametrize("n_samples", [1, 3])
    def test_stays_as_it_is(
        self, shape: Shape, body: tuple[Shorthand, ...], dtype: DTypeName, n_samples: int, rng: np.random.Generator
    ) -> None:
        net = unsettle(network(shape, *body, 2, dtype=dtype), rng)
        x = rng.standard_normal((n_samples, *shape)).astype(dtype)
        before = x.copy()
        net.predict(x)
        np.testing.assert_array_equal(x, before)

    @pytest.mark.parametrize(
        "body",
        [("dropout", "relu"), ("dropout", "tanh", "dropout", "sigmoid"), ("relu",), ("dropout", "batch_norm", "relu")],
        ids=str,
    )
    # One picture of one channel lies in a block as it lies in the caller's array.
    @pytest.mark.parametrize("shape", [(3,), (5, 4, 1), (1, 1, 1)], ids=str)
    def test_stays_as_it_is_whatever_comes_first(
        self, body: tuple[Shorthand, ...], shape: Shape, rng: np.random.Generator
    ) -> None:
        net = network(shape, *body, *(("flatten",) if len(shape) == 3 else ()), 2)
        x = rng.standard_normal((1, *shape)) - 1
        before = x.copy()
        net.predict(x)
        np.testing.assert_array_equal(x, before)

    @each_body
    def test_a_batch_of_one_and_of_none(
        self, shape: Shape, body: tuple[Shorthand, ...], rng: np.random.Generator
    ) -> None:
        net = unsettle(network(shape, *body, 2), rng)
        x = rng.standard_normal((4, *shape))
        np.testing.assert_allclose(net.predict(x[:1]), net.predict(x)[:1])
        assert net.predict(x[:0]).shape == (0, 2)

    def test_what_is_not_finite_comes_out_as_it_is_without_a_warning(self) -> None:
        net = network(2, 2)
        x = np.array([[np.nan, 1], [np.inf, 1], [1, 1]])
        assert np.isfinite(net.predict(x)).tolist() == [[False, False], [False, False], [True, True]]
        too_large = np.array([[1e300, 1e300]])
        assert not np.isfinite(network(2, 2, dtype="float32").predict(too_large)).any()

    def test_one_sample_that_is_not_finite_spoils_no_other(self, rng: np.random.Generator) -> None:
        net = unsettle(network(LARGER, *EVERYTHING), rng)
        x = rng.standard_normal((PICTURES + 4, *LARGER))
        expected = net.predict(x)
        x[3, 2, 2, 0] = np.nan
        found = net.predict(x)
        assert np.isnan(found[3]).all()
        np.testing.assert_array_equal(np.delete(found, 3, axis=0), np.delete(expected, 3, axis=0))


class TestPredict:
    @pytest.mark.parametrize("loss", LOSSES)
    def test_is_the_output_function_of_the_logits(self, loss: LossName, rng: np.random.Generator) -> None:
        net = network(3, 4, "tanh", 2, loss=loss)
        x = rng.standard_normal((5, 3))
        answers = np.empty((5, 2))
        ACTIVATIONS[LOSSES[loss].output].forward(net.logits(x), answers)
        np.testing.assert_array_equal(net.predict(x), answers)

    @pytest.mark.parametrize("loss", LOSSES)
    def test_the_output_function_may_be_said_as_a_last_layer(self, loss: LossName) -> None:
        x = np.ones((2, 3))
        unsaid, said = network(3, 4, loss=loss), network(3, 4, LOSSES[loss].output, loss=loss)
        np.testing.assert_array_equal(said.logits(x), unsaid.logits(x))
        np.testing.assert_array_equal(said.predict(x), unsaid.predict(x))

    @each_dtype
    def test_dropout_does_nothing(self, dtype: DTypeName, rng: np.random.Generator) -> None:
        body = [item for item in EVERYTHING if item != "dropout"]
        with_it, without = network(LARGER, *EVERYTHING, dtype=dtype), network(LARGER, *body, dtype=dtype)
        unsettle(with_it, rng)
        without.vector[...], without.statistics[...] = with_it.vector, with_it.statistics
        x = rng.standard_normal((5, *LARGER)).astype(dtype)
        np.testing.assert_array_equal(with_it.predict(x), without.predict(x))
        np.testing.assert_array_equal(with_it.predict(x), with_it.predict(x))

    @each_dtype
    @pytest.mark.parametrize(
        ("shape", "body", "block"),
        [((4,), (5, "batch_norm", "softmax", 3), EVALUATION_BLOCK), (LARGER, EVERYTHING, PICTURES)],
        ids=["rows", "pictures"],
    )
    def test_samples_go_through_in_blocks_each_of_which_is_by_itself_bit_for_bit(
        self, dtype: DTypeName, shape: Shape, body: tuple[Shorthand, ...], block: int, rng: np.random.Generator
    ) -> None:
        """Blocks divided otherwise may be rounded otherwise, since a BLAS sums by the shapes it is given."""
        net = unsettle(network(shape, *body, dtype=dtype), rng)
        assert net.block_size == block
        x = rng.standard_normal((2 * block + 3, *shape)).astype(dtype)
        whole = net.predict(x)
        for start in range(0, len(x), block):
            np.testing.assert_array_equal(net.predict(x[start : start + block]), whole[start : start + block])
        rtol, atol = (1e-4, 1e-5) if dtype == "float32" else (1e-11, 1e-12)
        for start, stop in ((0, 1), (1, block), (5, len(x)), (block - 1, block + 1)):
            np.testing.assert_allclose(net.predict(x[start:stop]), whole[start:stop], rtol, atol)

    def test_a_block_is_short_where_the_layers_are_wide(self) -> None:
        def rows_a_block(width: int) -> int:
            return block_size(build_layers(NetworkSpec(layers=layers(width)), (1,), "identity"), (1,))

        assert rows_a_block(10) == EVALUATION_BLOCK
        assert rows_a_block(2**20 - 1) == BLOCK_NUMBERS // 2**20
        assert rows_a_block(BLOCK_NUMBERS * 2) == 1

    @pytest.mark.parametrize("frozen", [False, True])
    def test_touches_no_state_of_the_network(self, frozen: bool, rng: np.random.Generator) -> None:
        net = unsettle(network(LARGER, *EVERYTHING, loss="cross_entropy"), rng)
        net = net.frozen() if frozen else net
        things = [net, *net.layers.values()]
        x = rng.standard_normal((PICTURES + 3, *LARGER))
        arrays = net.vector.tobytes(), net.statistics.tobytes()
        attributes = [{name: id(value) for name, value in vars(thing).items()} for thing in things]
        spread = [net.layers.keys(), net.arrays.keys()]
        for n_samples in (1, 5, PICTURES + 3):
            net.predict(x[:n_samples])
        assert (net.vector.tobytes(), net.statistics.tobytes()) == arrays
        assert [{name: id(value) for name, value in vars(thing).items()} for thing in things] == attributes
        assert [net.layers.keys(), net.arrays.keys()] == spread

    @pytest.mark.parametrize(
        ("shape", "body"),
        [
            *(((30,), (200, name, "batch_norm", "dropout")) for name in get_args(ActivationName)),
            ((28, 28, 1), (conv(8), "batch_norm", "relu", average_pool(), conv(8), "gelu", max_pool(), "flatten")),
        ],
        ids=[*get_args(ActivationName), "pictures"],
    )
    def test_keeps_nothing_between_calls(
        self, shape: Shape, body: tuple[Shorthand, ...], rng: np.random.Generator
    ) -> None:
        net = network(shape, *body, 2)
        few, many = (rng.standard_normal((n, *shape)) for n in (1, 2 * net.block_size + 3))
        for _ in range(20):  # what the interpreter keeps of functions that run often
            net.predict(few)
        tracemalloc.start()
        try:
            answers = net.predict(many)
            kept, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert kept - answers.nbytes < 10_000 < peak / 50

    @pytest.mark.parametrize("frozen", [False, True])
    @each_dtype
    def test_from_8_threads_equals_that_from_one(
        self, frozen: bool, dtype: DTypeName, rng: np.random.Generator
    ) -> None:
        net = unsettle(network(LARGER, *EVERYTHING, loss="cross_entropy", dtype=dtype), rng)
        net = net.frozen() if frozen else net
        batches = [rng.standard_normal((n, *LARGER)).astype(dtype) for n in (1, 2, 3, 5, 16, 17, 18, 33)]
        expected = [net.predict(x).tobytes() for x in batches]
        together = threading.Barrier(8)

        def predict(first: int) -> list[bytes]:
            together.wait(timeout=10)
            return [net.predict(batches[(first + i) % 8]).tobytes() for i in range(16)]

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            with ThreadPoolExecutor(8) as pool:
                found = list(pool.map(predict, range(8)))
        finally:
            sys.setswitchinterval(interval)
        for first, answers in enumerate(found):
            assert answers == [expected[(first + i) % 8] for i in range(16)]


FROZEN: dict[str, tuple[Shape, tuple[Shorthand, ...], int]] = {
    "behind dense": (ROW, (4, "batch_norm", "relu", 2), 0),
    "behind a convolution": (PICTURE, (conv(3, 2), "batch_norm", "relu", GLOBAL, 2), 0),
    "behind a convolution with an edge of zeros": (PICTURE, (conv(3, padding="same"), "batch_norm", "flatten", 2), 0),
    "before dense": (ROW, ("batch_norm", 4, "tanh", 2), 0),
    "before dense behind an activation": (ROW, (4, "softmax", "batch_norm", 2), 0),
    "before dense behind flatten": (PICTURE, (conv(2), "relu", "flatten", "batch_norm", 2), 0),
    "before dense behind means": (PICTURE, (conv(2), GLOBAL, "batch_norm", 2), 0),
    "between two dense": (ROW, (4, "batch_norm", 2), 0),
    "on either side of dense": (ROW, ("batch_norm", 4, "batch_norm", "relu", 2), 0),
    "between two dense each time": (ROW, ("batch_norm", 4, "batch_norm", 3, "batch_norm", 2, "batch_norm"), 0),
    "last of all": (ROW, (4, "relu", 2, "batch_norm"), 0),
    "before the output function": (ROW, (4, "relu", 2, "batch_norm", "softmax"), 0),
    "blocks in a row": (
        LARGER,
        (
            *(conv(3, padding="same"), "batch_norm", "relu", max_pool()),
            *(conv(4, 2), "batch_norm", "gelu", average_pool(2, 1)),
            *("flatten", 5, "batch_norm", "relu", "dropout", 2),
        ),
        0,
    ),
    "behind a pool": (PICTURE, (conv(3, 2), max_pool(), "batch_norm", "relu", GLOBAL, 2), 1),
    "behind an activation and a pool": (PICTURE, (conv(3, 2), "relu", max_pool(), "batch_norm", GLOBAL, 2), 1),
    "before a pool": (PICTURE, (conv(3, 2), "relu", "batch_norm", max_pool(), GLOBAL, 2), 1),
    "first of all, before a convolution": (PICTURE, ("batch_norm", conv(3, padding="same"), GLOBAL, 2), 1),
    "before flatten": (PICTURE, (average_pool(), "batch_norm", "flatten", 2), 1),
    "behind dropout": (ROW, (4, "dropout", "batch_norm", "relu", 2), 1),
    "behind an activation, last of all": (ROW, (2, "tanh", "batch_norm"), 1),
    "two in a row behind dense": (ROW, (4, "batch_norm", "batch_norm", "relu", 2), 1),
    "two in a row before dense": (ROW, ("batch_norm", "batch_norm", 4, "relu", 2), 1),
    "three in a row between two dense": (ROW, (4, "batch_norm", "batch_norm", "batch_norm", 2), 1),
    "alone": (ROW, ("batch_norm",), 1),
}


class TestFrozen:
    @pytest.mark.parametrize(("shape", "body", "left"), FROZEN.values(), ids=FROZEN)
    @each_dtype
    def test_gives_the_same_answers_and_leaves_the_original_alone(
        self, shape: Shape, body: tuple[Shorthand, ...], left: int, dtype: DTypeName, rng: np.random.Generator
    ) -> None:
        net = unsettle(network(shape, *body, loss="cross_entropy", dtype=dtype), rng)
        x = rng.standard_normal((PICTURES + 3, *shape)).astype(dtype)
        expected, spec = net.predict(x), net.spec
        arrays = net.vector.tobytes(), net.statistics.tobytes()
        frozen = net.frozen()
        rtol, atol = (1e-4, 1e-5) if dtype == "float32" else (1e-10, 1e-12)
        np.testing.assert_allclose(frozen.predict(x), expected, rtol, atol)
        assert [layer.type for layer in frozen.spec.layers].count("batch_norm") == left
        assert (frozen.dtype, frozen.input_shape, frozen.output) == (net.dtype, net.input_shape, net.output)
        assert (net.vector.tobytes(), net.statistics.tobytes(), net.spec) == (*arrays, spec)
        assert not np.shares_memory(frozen.vector, net.vector)
        np.testing.assert_array_equal(net.predict(x), expected)

    @pytest.mark.parametrize(("shape", "body", "left"), FROZEN.values(), ids=FROZEN)
    def test_is_a_network_like_any_other(
        self, shape: Shape, body: tuple[Shorthand, ...], left: int, rng: np.random.Generator
    ) -> None:
        frozen = unsettle(network(shape, *body), rng).frozen()
        x = rng.standard_normal((5, *shape))
        again = Network(frozen.spec, shape, frozen.output)
        again.load(frozen.arrays)
        np.testing.assert_array_equal(again.predict(x), frozen.predict(x))
        np.testing.assert_allclose(frozen.frozen().predict(x), frozen.predict(x))
        assert left or frozen.frozen() is frozen

    @each_body
    def test_of_every_network(self, shape: Shape, body: tuple[Shorthand, ...], rng: np.random.Generator) -> None:
        net = unsettle(network(shape, *body, 2), rng)
        x = rng.standard_normal((5, *shape))
        np.testing.assert_allclose(net.frozen().predict(x), net.predict(x), rtol=1e-10, atol=1e-12)

    def test_without_batch_normalisation_it_is_the_network_itself(self) -> None:
        for net in (network(3, 4, "relu", 2), network(PICTURE, conv(2), "dropout", "flatten", 2)):
            assert net.frozen() is net

    def test_keeps_no_statistics_where_nothing_is_left_to_normalise(self) -> None:
        frozen = network(3, 4, "batch_norm", 2).frozen()
        assert frozen.statistics.size == 0
        assert list(frozen.arrays) == ["layers.0.weight", "layers.0.bias", "layers.1.weight", "layers.1.bias"]


class TestActivationBeforeMaxPool:
    """It works on fewer numbers behind the pool, where that makes no difference."""

    # In training this does nothing, and in predictions neither; but it keeps the two beside it apart.
    APART = DropoutSpec(rate=0)

    def two(self, name: ActivationName, rng: np.random.Generator) -> tuple[Network, Network]:
        together = unsettle(network(PICTURE, conv(3, 2), name, max_pool(2, 1), "flatten", 2), rng)
        apart = network(PICTURE, conv(3, 2), name, self.APART, max_pool(2, 1), "flatten", 2)
        apart.vector[...] = together.vector
        return together, apart

    @pytest.mark.parametrize("name", [name for name in get_args(ActivationName) if name != "softmax"])
    def test_makes_no_difference(self, name: ActivationName, rng: np.random.Generator) -> None:
        together, apart = self.two(name, rng)
        x = rng.standard_normal((5, *PICTURE))
        np.testing.assert_allclose(together.logits(x), apart.logits(x), rtol=1e-12)
        found = []
        for net in (together, apart):
            gradients = np.empty_like(net.vector)
            tape = Tape(net, 5, gradients)
            tape.draw(rng)
            tape.forward(x)
            tape.backward(np.ones((5, 2)))
            found.append(gradients)
        np.testing.assert_allclose(found[0], found[1], rtol=1e-10, atol=1e-14)

    @pytest.mark.parametrize("name", [name for name in get_args(ActivationName) if name != "softmax"])
    def test_they_change_places_unless_the_function_falls_somewhere(
        self, name: ActivationName, rng: np.random.Generator
    ) -> None:
        together, apart = self.two(name, rng)
        assert list(together.layers) == ([0, 1, 2, 3, 4] if name == "gelu" else [0, 2, 1, 3, 4])
        assert list(apart.layers) == [0, 1, 2, 3, 4, 5]
        assert apart.layers[1].output_shape == (4, 3, 3)
        assert together.layers[1].output_shape == ((4, 3, 3) if name == "gelu" else (3, 2, 3))

    @pytest.mark.parametrize("name", get_args(ActivationName))
    def test_a_function_that_falls_somewhere_is_told(self, name: ActivationName) -> None:
        function = ACTIVATIONS[name]
        if not function.elementwise:
            assert not function.monotone
            return
        x = np.linspace(-20, 20, 40_001)
        y = np.empty_like(x)
        function.forward(x.copy(), y)
        assert function.monotone == bool((np.diff(y) >= -1e-15).all())

    def test_of_two_the_nearer_one_goes(self, rng: np.random.Generator) -> None:
        net = network(PICTURE, conv(2, 1), "relu", "tanh", max_pool(), "relu", max_pool(1), "flatten", 2)
        assert list(net.layers) == [0, 1, 3, 2, 5, 4, 6, 7]

    def test_average_pools_stay_where_they_are(self) -> None:
        net = network(PICTURE, conv(2, 1), "relu", average_pool(), "flatten", 2)
        assert list(net.layers) == [0, 1, 2, 3, 4]


class TestSpecErrors:
    @pytest.mark.parametrize(
        ("shape", "body", "pointer", "came", "remedy"),
        [
            (PICTURE, (conv(3), 2), "1", "pictures 3 × 2 × 3", "put flatten or global_average_pool2d before it"),
            (
                PICTURE,
                (max_pool(), "relu", 2),
                "2",
                "pictures 2 × 2 × 2",
                "put flatten or global_average_pool2d before",
            ),
            (PICTURE, (conv(3), "softmax", "flatten", 2), "1", "pictures 3 × 2 × 3", "put flatten before it"),
            (PICTURE, ("flatten", conv(3)), "1", "rows of 40 numbers", "put it before the layer that makes rows"),
            (PICTURE, ("flatten", max_pool(), 2), "1", "rows of 40 numbers", "put it before the layer that makes rows"),
            (PICTURE, (GLOBAL, average_pool(), 2), "1", "rows of 2 numbers", "put it before the layer that makes rows"),
            (PICTURE, ("flatten", 2, "flatten"), "2", "rows of 2 numbers", "leave it out"),
            (PICTURE, (GLOBAL, GLOBAL), "1", "rows of 2 numbers", "leave it out"),
            (ROW, (conv(3), 2), "0", "rows of 3 numbers", "leave it out"),
            (ROW, (4, "relu", "flatten"), "2", "rows of 4 numbers", "leave it out"),
            (
                PICTURE,
                (conv(3, 5), "flatten"),
                "0/kernel_size",
                "pictures of 5 × 4",
                'take a smaller one, or padding "same"',
            ),
            (PICTURE, (conv(3), conv(3), "flatten"), "1/kernel_size", "pictures of 3 × 2", "take a smaller one"),
            (PICTURE, ("relu", max_pool(5), "flatten"), "1/pool_size", "pictures of 5 × 4", "take less"),
            (PICTURE, (average_pool(4, 1), max_pool(), "flatten"), "1/pool_size", "pictures of 2 × 1", "take less"),
            (PICTURE, (conv(3),), "0", "pictures 3 × 2 × 3", "put flatten or global_average_pool2d, and a dense layer"),
            (PICTURE, (conv(3), "relu", "dropout"), "2", "pictures 3 × 2 × 3", "put flatten or global_average_pool2d"),
        ],
        ids=str,
    )
    def test_name_the_layer_what_comes_in_and_the_remedy(
        self, shape: Shape, body: tuple[Shorthand, ...], pointer: str, came: str, remedy: str
    ) -> None:
        with pytest.raises(SpecError) as raised:
            build_layers(NetworkSpec(layers=layers(*body)), shape, "identity")
        (problem,) = raised.value.problems
        assert problem.pointer == f"#/network/layers/{pointer}"
        assert came in problem.detail
        assert remedy in problem.detail

    @pytest.mark.parametrize(
        ("body", "named"),
        [((conv(3), 2), "dense takes rows of numbers"), (("flatten", conv(3)), "conv2d takes pictures")],
        ids=str,
    )
    def test_say_what_the_layer_needs(self, body: tuple[Shorthand, ...], named: str) -> None:
        with pytest.raises(SpecError, match=named):
            network(PICTURE, *body)

    def test_a_kernel_larger_than_the_picture_fits_with_an_edge_of_zeros(self) -> None:
        assert network((2, 3, 1), conv(2, 9, padding="same"), "flatten").output_shape == (2 * 3 * 2,)

    @pytest.mark.parametrize(
        ("layer", "field", "expected"),
        [
            ({"type": "dropout", "rate": 1}, "rate", "at least 0 and at most 0.99; got 1"),
            ({"type": "dropout", "rate": -0.1}, "rate", "at least 0 and at most 0.99; got -0.1"),
            ({"type": "dropout"}, "rate", "missing; expected a number at least 0 and at most 0.99"),
            ({"type": "batch_norm", "momentum": 1}, "momentum", "at least 0 and below 1; got 1"),
            ({"type": "batch_norm", "epsilon": 0}, "epsilon", "above 0 and at most 1; got 0"),
            ({"type": "conv2d", "filters": 0}, "filters", "at least 1 and at most 4096; got 0"),
            ({"type": "conv2d", "filters": 1, "stride": 0}, "stride", "at least 1 and at most 64; got 0"),
            ({"type": "conv2d", "filters": 1, "padding": "full"}, "padding", "expected one of valid, same; got 'full'"),
            ({"type": "max_pool2d", "pool_size": 0}, "pool_size", "at least 1 and at most 64; got 0"),
            ({"type": "average_pool2d", "stride": 0}, "stride", "at least 1 and at most 64; got 0"),
            ({"type": "conv3d"}, "type", "expected one of conv2d, max_pool2d, average_pool2d"),
        ],
        ids=str,
    )
    def test_numbers_out_of_range_are_told_where_the_description_is_read(
        self, layer: dict[str, Any], field: str, expected: str
    ) -> None:
        with pytest.raises(SpecError) as raised:
            parse(NetworkSpec, {"layers": [{"type": "relu"}, layer]}, "#/network")
        (problem,) = raised.value.problems
        assert problem.pointer == f"#/network/layers/1/{field}"
        assert expected in problem.detail


def test_an_activation_is_described_by_its_name_alone() -> None:
    assert layers("relu") == (ActivationSpec(type="relu"),)
    found: NDArray[Any] = network(2, "relu", "identity").predict(np.array([[-1.0, 2]]))
    assert found.tolist() == [[0, 2]]


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["deepcopy", "pickle"]
)
def test_a_copy_is_a_network_of_its_own_that_can_be_trained(
    copied: Callable[[Network], Network], rng: np.random.Generator
) -> None:
    net = network(3, 4, "batch_norm", "relu", 2)
    net.statistics += 0.5
    other = copied(net)
    x = rng.standard_normal((5, 3))
    np.testing.assert_array_equal(other.predict(x), net.predict(x))
    other.vector[...] = 0
    assert not any(other.arrays[f"layers.{at}.weight"].any() for at in (0, 3))
    assert net.vector.any()
