from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from nn import tape
from nn.activations import Array
from nn.crew import Crew
from nn.layers import PICTURES, Shape
from nn.network import Network
from nn.spec import BatchNormSpec, DTypeName
from nn.tape import Tape
from tests.nn.support import DTYPES, Bench, assert_gradient, central_differences, network

ROW: Shape = (3,)
PICTURE: Shape = (4, 3, 2)
each_shape = pytest.mark.parametrize("shape", [ROW, PICTURE], ids=["rows", "pictures"])
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def of_channels(x: Array) -> list[Array]:
    """The numbers of each channel: of rows the last axis, and of pictures too."""
    return [x[..., channel].ravel() for channel in range(x.shape[-1])]


def normalized(x: Array, scale: Array, shift: Array, epsilon: float) -> Array:
    """What a training step gives."""
    y = np.empty_like(x)
    for channel, values in enumerate(of_channels(x)):
        mean = sum(values) / len(values)
        variance = sum((value - mean) ** 2 for value in values) / len(values)
        y[..., channel] = scale[channel] * (x[..., channel] - mean) / np.sqrt(variance + epsilon) + shift[channel]
    return y


def one_norm(shape: Shape, dtype: DTypeName = "float64", *, momentum: float = 0.9, epsilon: float = 1e-5) -> Network:
    """A network that is a batch normalisation, and of pictures then makes rows; the shift and scale are not 0 and 1."""
    behind = ("flatten",) if shape == PICTURE else ()
    net = network(shape, BatchNormSpec(momentum=momentum, epsilon=epsilon), *behind, dtype=dtype)
    net.arrays["layers.0.scale"][...] = np.linspace(0.5, 1.5, shape[-1])
    net.arrays["layers.0.shift"][...] = np.linspace(-1, 1, shape[-1])
    return net


def tape_of(net: Network, n_samples: int, crew: Crew | None = None) -> Tape:
    return Tape(net, n_samples, np.empty_like(net.vector), crew)


class TestTraining:
    @each_shape
    @pytest.mark.parametrize("n_samples", [2, 5, 2 * PICTURES + 3])
    @each_dtype
    def test_each_channel_has_the_mean_and_variance_of_its_batch_taken_off(
        self, shape: Shape, n_samples: int, dtype: DTypeName, rng: np.random.Generator
    ) -> None:
        net = one_norm(shape, dtype, epsilon=1e-3)
        x = rng.normal(3, 2, (n_samples, *shape)).astype(dtype)
        y = tape_of(net, n_samples).forward(x)
        scale, shift = net.arrays["layers.0.scale"], net.arrays["layers.0.shift"]
        expected = normalized(x.astype(float), scale, shift, 1e-3).reshape(n_samples, -1)
        np.testing.assert_allclose(y, expected, rtol=1e-4 if dtype == "float32" else 1e-10, atol=1e-5)

    @pytest.mark.parametrize("in_a_block", [1, 2, 3, 7])
    @pytest.mark.parametrize("n_threads", [1, 3])
    def test_it_is_the_whole_batch_whatever_the_blocks(
        self, in_a_block: int, n_threads: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Pictures of very different brightness, so that the mean of a block says nothing of the batch's.
        x = rng.standard_normal((7, *PICTURE)) + 100 * np.arange(7.0)[:, np.newaxis, np.newaxis, np.newaxis]
        monkeypatch.setattr(tape, "PICTURES", in_a_block)
        net = one_norm(PICTURE, momentum=0)
        with Crew(n_threads) as crew:
            y = tape_of(net, 7, crew).forward(x)
        expected = normalized(x, net.arrays["layers.0.scale"], net.arrays["layers.0.shift"], 1e-5)
        np.testing.assert_allclose(y, expected.reshape(7, -1), rtol=1e-9, atol=1e-9)
        found = net.arrays["layers.0.mean"], net.arrays["layers.0.variance"]
        np.testing.assert_allclose(found[0], [values.mean() for values in of_channels(x)])
        np.testing.assert_allclose(found[1], [values.var(ddof=1) for values in of_channels(x)])

    @each_shape
    def test_a_mean_far_from_0_costs_no_precision_in_float32(self, shape: Shape, rng: np.random.Generator) -> None:
        net = one_norm(shape, "float32")
        x = (rng.standard_normal((50, *shape)) + 1000).astype(np.float32)
        y = tape_of(net, 50).forward(x)
        expected = normalized(x.astype(float), net.arrays["layers.0.scale"], net.arrays["layers.0.shift"], 1e-5)
        np.testing.assert_allclose(y, expected.reshape(50, -1), atol=1e-3)

    @each_shape
    def test_gradients_agree_with_central_differences(self, shape: Shape, rng: np.random.Generator) -> None:
        for n_samples in (2, 4):
            bench = Bench(BatchNormSpec(epsilon=0.1), shape, n_samples, rng)
            x, dy = rng.standard_normal((2, n_samples, *shape))

            def weighted_sum(bench: Bench = bench, x: Array = x, dy: Array = dy) -> float:
                return float(np.sum(bench.forward(x) * dy))

            bench.forward(x)
            dx = bench.backward(dy)
            assert dx is not None
            assert_gradient(dx, central_differences(weighted_sum, x))
            for name in ("scale", "shift"):
                assert_gradient(bench.gradients[name], central_differences(weighted_sum, bench.arrays[name]))

    @each_shape
    @each_dtype
    @pytest.mark.parametrize("n_samples", [1, 5])
    def test_of_numbers_all_alike_the_shift_is_left_and_every_gradient_finite(
        self, shape: Shape, dtype: DTypeName, n_samples: int, rng: np.random.Generator
    ) -> None:
        bench = Bench(BatchNormSpec(), shape, n_samples, rng, dtype=dtype)
        y = bench.forward(np.full((n_samples, *shape), 7, dtype))
        np.testing.assert_array_equal(y, np.broadcast_to(bench.arrays["shift"], y.shape))
        dx = bench.backward(rng.standard_normal(y.shape).astype(dtype))
        assert dx is not None
        assert np.isfinite(dx).all()
        assert not bench.gradients["scale"].any()

    def test_a_batch_of_one_row_gives_the_shift_and_no_gradient_to_what_is_below(
        self, rng: np.random.Generator
    ) -> None:
        bench = Bench(BatchNormSpec(), ROW, 1, rng)
        y = bench.forward(rng.standard_normal((1, 3)))
        np.testing.assert_array_equal(y[0], bench.arrays["shift"])
        np.testing.assert_array_equal(bench.backward(np.ones((1, 3))), np.zeros((1, 3)))
        np.testing.assert_array_equal(bench.gradients["shift"], [1, 1, 1])

    def test_a_tape_can_be_run_backward_after_another_has_been_run_forward(self, rng: np.random.Generator) -> None:
        """Of one network: what belongs to a pass is in its buffers, as with every other layer."""
        net = network(ROW, 3, "batch_norm", 2)
        xs = rng.standard_normal((5, 3)), 10 * rng.standard_normal((4, 3))
        dlogits = rng.standard_normal((5, 2))
        found = []
        for disturbed in (False, True):
            gradients = np.empty_like(net.vector)
            passed = Tape(net, 5, gradients)
            passed.forward(xs[0])
            if disturbed:
                tape_of(net, 4).forward(xs[1])
            passed.backward(dlogits.copy())
            found.append(gradients)
        np.testing.assert_array_equal(found[1], found[0])


class TestRunningStatistics:
    @each_shape
    @pytest.mark.parametrize("momentum", [0, 0.9, 0.5])
    @each_dtype
    def test_each_batch_moves_them_by_a_share_towards_its_own(
        self, shape: Shape, momentum: float, dtype: DTypeName, rng: np.random.Generator
    ) -> None:
        net = one_norm(shape, dtype, momentum=momentum)
        mean, variance = np.zeros(shape[-1]), np.ones(shape[-1])
        for n_samples, centre in ((5, 1.0), (2 * PICTURES + 1, -2.0), (2, 0.5)):
            x = rng.normal(centre, 2, (n_samples, *shape)).astype(dtype)
            tape_of(net, n_samples).forward(x)
            for channel, values in enumerate(of_channels(x.astype(float))):
                unbiased = sum((values - values.mean()) ** 2) / (len(values) - 1)
                mean[channel] = momentum * mean[channel] + (1 - momentum) * values.mean()
                variance[channel] = momentum * variance[channel] + (1 - momentum) * unbiased
            rtol = 1e-4 if dtype == "float32" else 1e-10
            np.testing.assert_allclose(net.arrays["layers.0.mean"], mean, rtol=rtol, atol=1e-6)
            np.testing.assert_allclose(net.arrays["layers.0.variance"], variance, rtol=rtol)

    def test_they_begin_at_0_and_1_and_are_not_trained(self) -> None:
        net = network(PICTURE, "batch_norm", "flatten")
        assert net.arrays["layers.0.mean"].tolist() == [0, 0]
        assert net.arrays["layers.0.variance"].tolist() == [1, 1]
        assert (net.vector.size, net.n_weights, net.statistics.size) == (4, 0, 4)
        assert all(np.shares_memory(net.statistics, net.arrays[f"layers.0.{name}"]) for name in ("mean", "variance"))

    def test_one_row_leaves_them_alone(self) -> None:
        """The last batch of an epoch may have a single row, whose variance is 0."""
        net = one_norm(ROW, momentum=0.5)
        tape_of(net, 1).forward(np.ones((1, 3)))
        assert net.arrays["layers.0.variance"].tolist() == [1, 1, 1]
        assert net.arrays["layers.0.mean"].tolist() == [0, 0, 0]

    @each_shape
    def test_a_pass_backward_leaves_them_alone(self, shape: Shape, rng: np.random.Generator) -> None:
        net = one_norm(shape)
        passed = tape_of(net, 3)
        y = passed.forward(rng.standard_normal((3, *shape)))
        before = net.statistics.copy()
        passed.backward(np.ones_like(y))
        np.testing.assert_array_equal(net.statistics, before)


class TestPrediction:
    @each_shape
    @each_dtype
    def test_is_by_the_running_statistics_each_sample_for_itself(
        self, shape: Shape, dtype: DTypeName, rng: np.random.Generator
    ) -> None:
        net = one_norm(shape, dtype, epsilon=1e-2)
        channels = shape[-1]
        net.arrays["layers.0.mean"][...] = mean = np.linspace(-1, 2, channels)
        net.arrays["layers.0.variance"][...] = variance = np.linspace(0.5, 4, channels)
        before = net.statistics.copy()
        x = rng.normal(3, 2, (4, *shape)).astype(dtype)
        scale, shift = net.arrays["layers.0.scale"], net.arrays["layers.0.shift"]
        expected = np.empty_like(x)
        for i, channel in product(range(4), range(channels)):
            spread = np.sqrt(variance[channel] + 1e-2)
            expected[i, ..., channel] = scale[channel] * (x[i, ..., channel] - mean[channel]) / spread + shift[channel]
        found = net.predict(x)
        np.testing.assert_allclose(
            found, expected.reshape(4, -1), rtol=1e-4 if dtype == "float32" else 1e-10, atol=1e-6
        )
        np.testing.assert_array_equal(net.predict(x[:1]), found[:1])
        np.testing.assert_array_equal(net.statistics, before)


def test_scale_and_shift_are_not_decayed() -> None:
    layer = Bench(BatchNormSpec(), PICTURE, 1, np.random.default_rng(0)).layer
    assert layer.weight_shapes == {}
    assert layer.offset_shapes == {"scale": (2,), "shift": (2,)}
    assert layer.statistic_shapes == {"mean": (2,), "variance": (2,)}
