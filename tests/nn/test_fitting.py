from __future__ import annotations

import math
import tracemalloc
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nn import DivergedError, Epoch, Samples, fit
from nn.activations import Array
from nn.features import PixelFeatures
from nn.fitting import evaluate, steps_per_epoch, training_memory
from nn.losses import LOSSES
from nn.network import EVALUATION_BLOCK
from nn.spec import DTypeName, EarlyStoppingSpec, LossName, TrainingSpec
from tests.nn.support import DTYPES, network, samples, training


@dataclass
class Spy:
    """Takes numbers as they are, and notes them; the number of a sample stands in its first column."""

    batches: list[list[int]] = field(default_factory=list)

    def encode(self, raw: NDArray[Any], out: Array) -> None:
        self.batches.append(raw[:, 0].astype(int).tolist())
        out[...] = raw


def line(n_samples: int, dtype: str = "float64") -> Samples:
    """Points on `y = 2 x - 1`."""
    x = np.linspace(-1, 1, n_samples, dtype=dtype)[:, np.newaxis]
    return samples(x, 2 * x - 1)


def numbered(n_samples: int) -> tuple[Samples, Spy]:
    spy = Spy()
    x = np.arange(float(n_samples))[:, np.newaxis]
    return Samples(x, np.zeros_like(x), np.arange(n_samples), spy), spy


def two_clouds(n_samples: int, rng: np.random.Generator) -> Samples:
    targets = rng.integers(0, 2, n_samples)
    return samples(rng.standard_normal((n_samples, 2)) + 3 * targets[:, np.newaxis], targets)


def generator() -> np.random.Generator:
    return np.random.default_rng(5)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10, 64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_learns_a_line_with_any_batch_size(batch_size: int, dtype: DTypeName) -> None:
    """10 samples: batches of one, last batches that are short, one batch of all, a batch larger than the data."""
    net = network(1, 1, dtype=dtype)
    result = fit(net, line(10, dtype), training(0.1, epochs=300, batch_size=batch_size), generator())
    assert net.parameters["layers.0.weight"].item() == pytest.approx(2, rel=1e-3)
    assert net.parameters["layers.0.bias"].item() == pytest.approx(-1, rel=1e-3)
    assert net.vector.dtype == dtype
    assert result.epochs[-1].training["loss"] < 1e-4 < result.epochs[0].training["loss"]


@pytest.mark.parametrize(("loss", "n_outputs"), [("cross_entropy", 2), ("binary_cross_entropy", 1)])
def test_tells_two_clouds_apart(loss: LossName, n_outputs: int, rng: np.random.Generator) -> None:
    spec = training(0.1, loss=loss, epochs=20)
    result = fit(network(2, 4, "relu", n_outputs, loss=loss), two_clouds(200, rng), spec, generator())
    assert result.epochs[-1].training["accuracy"] > 0.95


def test_one_batch_of_all_is_one_step_by_hand() -> None:
    x, y = np.array([[1.0], [2.0]]), np.array([[1.0], [3.0]])
    net = network(1, 1)
    net.vector[...] = [0, 0]
    result = fit(net, samples(x, y), training(0.1, epochs=1, batch_size=2), generator())
    # Errors -1 and -3: the loss is 5, its derivatives -(1·1 + 3·2) and -(1 + 3).
    assert net.vector.tolist() == pytest.approx([0.7, 0.4])
    assert result.epochs[0].training["loss"] == 5


def test_every_sample_is_seen_once_an_epoch_in_another_order() -> None:
    data, spy = numbered(10)
    fit(network(1, 1), data, training(1e-9, epochs=2, batch_size=4), generator())
    assert [len(batch) for batch in spy.batches] == [4, 4, 2] * 2
    first, second = (list(chain(*batches)) for batches in (spy.batches[:3], spy.batches[3:]))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second
    assert first != sorted(first)


def test_a_short_last_batch_counts_by_its_samples_in_the_loss() -> None:
    data, _ = numbered(5)
    net = network(1, 1)
    net.vector[...] = [1, 0]
    result = fit(net, data, training(1e-12, epochs=1, batch_size=4), generator())
    assert result.epochs[0].training["loss"] == pytest.approx((1 + 4 + 9 + 16) / 5)


def test_validation_samples_are_measured_and_never_trained_on() -> None:
    data, seen = numbered(20)
    watched = Spy()
    held_back = Samples(data.inputs, data.targets, np.arange(15, 20), watched)
    net, alone = network(1, 1), network(1, 1)
    spec = training(1e-5, epochs=3, batch_size=4)
    part = replace(data, rows=np.arange(15))
    result = fit(net, part, spec, generator(), validation=held_back)
    assert {number for batch in seen.batches for number in batch} == set(range(15))
    assert watched.batches == [[15, 16, 17, 18, 19]] * 3
    assert result.epochs[-1].validation == evaluate(net, held_back, spec)
    fit(alone, part, spec, generator())
    np.testing.assert_array_equal(net.vector, alone.vector)


def test_the_rows_alone_decide_what_is_seen(rng: np.random.Generator) -> None:
    """Other rows of the same arrays may hold anything."""
    data = replace(line(10), rows=np.array([0, 3, 5]))
    spoilt = replace(data, inputs=data.inputs.copy(), targets=data.targets.copy())
    spoilt.inputs[[1, 2, 4, 6, 7, 8, 9]] = np.nan
    spoilt.targets[[1, 2, 4, 6, 7, 8, 9]] = np.nan
    nets = network(1, 1), network(1, 1)
    for net, given in zip(nets, (data, spoilt), strict=True):
        fit(net, given, training(epochs=3), generator())
    np.testing.assert_array_equal(nets[0].vector, nets[1].vector)


def test_same_generator_same_weights_other_generator_others() -> None:
    vectors = []
    for seed in (1, 1, 2):
        net = network(1, 8, "tanh", 1)
        fit(net, line(20), training(epochs=3, batch_size=4), np.random.default_rng(seed))
        vectors.append(net.vector)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert (vectors[0] != vectors[2]).any()


def test_on_epoch_hears_of_each_epoch_as_it_ends() -> None:
    heard: list[Epoch] = []
    net = network(1, 1)
    biases: list[float] = []

    def listen(epoch: Epoch) -> None:
        heard.append(epoch)
        biases.append(net.vector[-1])

    result = fit(net, line(10), training(0.05, epochs=3), generator(), validation=line(5), on_epoch=listen)
    assert heard == result.epochs
    assert [epoch.epoch for epoch in heard] == [1, 2, 3]
    assert len(set(biases)) == 3
    assert result.best_epoch == 3
    assert not result.stopped
    row = heard[0].row()
    names = ["loss", "rmse", "r2"]
    assert list(row) == ["epoch", *names, *(f"validation_{name}" for name in names), "learning_rate", "seconds"]
    assert row["learning_rate"] == 0.05
    assert row["seconds"] >= 0


class TestShouldStop:
    def test_is_asked_before_each_batch_with_the_batches_done(self) -> None:
        asked: list[int] = []

        def never(step: int) -> bool:
            asked.append(step)
            return False

        spec = training(epochs=2, batch_size=4)
        fit(network(1, 1), line(10), spec, generator(), should_stop=never)
        assert asked == [0, 1, 2, 3, 4, 5]
        assert steps_per_epoch(10, spec) == 3

    @pytest.mark.parametrize(("after", "n_epochs"), [(0, 0), (2, 0), (3, 1), (5, 1)])
    def test_ends_training_within_the_epoch(self, after: int, n_epochs: int) -> None:
        net = network(1, 1)
        before = net.vector.copy()
        spec = training(epochs=9, batch_size=4)
        result = fit(net, line(10), spec, generator(), should_stop=lambda step: step == after)
        assert result.stopped
        assert len(result.epochs) == n_epochs
        assert (net.vector == before).all() == (after == 0)


class TestEarlyStopping:
    """A rate at which the validation loss falls to a best epoch, and training goes on to overfit."""

    def overfitting(self, rng: np.random.Generator, **fields: Any) -> tuple[Samples, Samples, TrainingSpec]:
        x = rng.uniform(-1, 1, (60, 1))
        y = x + rng.standard_normal((60, 1))
        data = samples(x, y)
        spec = training(0.2, epochs=400, batch_size=4, **fields)
        return replace(data, rows=np.arange(12)), replace(data, rows=np.arange(12, 60)), spec

    def test_restores_the_best_weights_and_stops_at_the_plateau(self, rng: np.random.Generator) -> None:
        data, validation, spec = self.overfitting(rng, early_stopping=EarlyStoppingSpec(patience=10))
        net = network(1, 16, "tanh", 1, seed=2)
        weights: list[Array] = []
        result = fit(
            net, data, spec, generator(), validation=validation, on_epoch=lambda _: weights.append(net.vector.copy())
        )
        losses = [epoch.validation["loss"] for epoch in result.epochs]
        assert result.best_epoch == 1 + int(np.argmin(losses)) < spec.epochs
        assert len(losses) == result.best_epoch + 10
        np.testing.assert_array_equal(net.vector, weights[result.best_epoch - 1])
        assert (net.vector != weights[-1]).any()
        assert evaluate(net, validation, spec)["loss"] == min(losses)

    def test_also_restores_them_when_it_is_told_to_stop(self, rng: np.random.Generator) -> None:
        data, validation, spec = self.overfitting(rng, early_stopping=EarlyStoppingSpec(patience=1000))
        net = network(1, 16, "tanh", 1, seed=2)
        result = fit(net, data, spec, generator(), validation=validation, should_stop=lambda step: step == 300)
        assert result.stopped
        losses = [epoch.validation["loss"] for epoch in result.epochs]
        assert evaluate(net, validation, spec)["loss"] == min(losses) < losses[-1]

    def test_a_fall_of_less_than_min_delta_is_a_plateau(self, rng: np.random.Generator) -> None:
        early = EarlyStoppingSpec(patience=3, min_delta=1e6)
        data, validation, spec = self.overfitting(rng, early_stopping=early)
        result = fit(network(1, 16, "tanh", 1), data, spec, generator(), validation=validation)
        assert result.best_epoch == 1
        assert len(result.epochs) == 4


class TestDivergence:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("batch_size", [1, 10])
    def test_stops_with_the_epoch(self, dtype: DTypeName, batch_size: int) -> None:
        heard: list[Epoch] = []
        net = network(1, 8, "relu", 1, dtype=dtype)
        spec = training(100, epochs=10_000, batch_size=batch_size)
        with pytest.raises(DivergedError) as caught:
            fit(net, line(10, dtype), spec, generator(), on_epoch=heard.append)
        assert caught.value.epoch == len(heard) + 1
        assert str(caught.value).startswith(f"training diverged in epoch {len(heard) + 1}: ")
        assert "lower the learning rate" in str(caught.value)
        assert all(math.isfinite(value) for epoch in heard for value in epoch.row().values())

    @pytest.mark.parametrize("number", [np.nan, np.inf, 1e300])
    def test_input_that_is_not_finite_diverges_at_once(self, number: float) -> None:
        data = line(10)
        data.inputs[3] = number
        with pytest.raises(DivergedError, match="epoch 1"):
            fit(network(1, 4, "relu", 1), data, training(), generator())

    def test_a_validation_loss_that_is_not_finite_counts_as_well(self) -> None:
        validation = line(5)
        validation.inputs[0] = np.inf
        with pytest.raises(DivergedError, match="epoch 1"):
            fit(network(1, 1), line(10), training(), generator(), validation=validation)


class TestMemory:
    PIXELS = PixelFeatures(height=28, width=28)

    def pictures(self, n_samples: int, rng: np.random.Generator) -> Samples:
        raw = rng.integers(0, 256, (n_samples, 784), np.uint8)
        return Samples(raw, rng.integers(0, 10, n_samples), np.arange(n_samples), self.PIXELS)

    def peak(self, data: Samples, spec: TrainingSpec, *shorthand: int | str, validation: Samples | None = None) -> int:
        """Bytes that NumPy and Python held at most while a network was made and trained."""
        tracemalloc.start()
        try:
            net = network(data.inputs.shape[1], *shorthand, loss=spec.loss, dtype="float32")
            fit(net, data, spec, generator(), validation=validation)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    def test_pictures_stay_bytes_but_for_their_batch(self, rng: np.random.Generator) -> None:
        data = self.pictures(10_000, rng)
        spec = training(loss="cross_entropy", epochs=1, batch_size=128)
        assert self.peak(data, spec, 8, 10) < data.inputs.nbytes / 4

    def test_steps_take_no_memory_beyond_the_first(self, rng: np.random.Generator) -> None:
        """From the second step on, what a step holds for a moment is little beside the buffers of a batch."""
        data = self.pictures(2_000, rng)
        growth: list[int] = []
        tracemalloc.start()

        def measure(step: int) -> bool:
            current, peak = tracemalloc.get_traced_memory()
            if step > 1:
                growth.append(peak - base[0])
            tracemalloc.reset_peak()
            base[0] = current
            return False

        base = [0]
        try:
            net = network(784, 512, "relu", 10, loss="cross_entropy", dtype="float32")
            spec = training(loss="cross_entropy", epochs=1, batch_size=200)
            fit(net, data, spec, generator(), should_stop=measure)
        finally:
            tracemalloc.stop()
        batch_of_bytes, mask_of_relu = 200 * 784, 200 * 512
        assert len(growth) == 8
        assert max(growth) < 1.2 * (batch_of_bytes + mask_of_relu) < net.vector.nbytes / 5

    @pytest.mark.parametrize(
        ("n_samples", "shorthand", "loss", "batch_size", "n_validation"),
        [
            (5_000, (16, "tanh", 100), "mean_squared_error", 16, 0),
            (5_000, (16, "relu", 10), "cross_entropy", 5_000, 0),
            (1_000, (64, "softmax", 10), "cross_entropy", 64, 1_500),
            (100, (1500, "relu", 1000, "relu", 10), "cross_entropy", 16, 20),
        ],
    )
    def test_is_about_what_training_memory_reckons(
        self,
        n_samples: int,
        shorthand: tuple[int | str, ...],
        loss: LossName,
        batch_size: int,
        n_validation: int,
        rng: np.random.Generator,
    ) -> None:
        data = self.pictures(n_samples + n_validation, rng)
        if loss == "mean_squared_error":
            data = replace(data, targets=rng.standard_normal((n_samples, 100)).astype("float32"))
        early = EarlyStoppingSpec() if n_validation else None
        spec = training(0.001, loss=loss, epochs=2, batch_size=batch_size, early_stopping=early)
        spec = replace(spec, optimizer=replace(spec.optimizer, momentum=0.9))
        trained = replace(data, rows=data.rows[:n_samples])
        held_back = replace(data, rows=data.rows[n_samples:]) if n_validation else None
        reckoned = training_memory(network(784, *shorthand, loss=loss, dtype="float32").spec, (784,), spec, n_samples)
        assert 0.3 * reckoned < self.peak(trained, spec, *shorthand, validation=held_back) < 1.2 * reckoned


def test_evaluate_takes_samples_in_blocks(rng: np.random.Generator) -> None:
    data, spy = numbered(2 * EVALUATION_BLOCK + 1)
    net = network(1, 1)
    spec = training()
    found = evaluate(net, data, spec)
    assert [len(batch) for batch in spy.batches] == [EVALUATION_BLOCK, EVALUATION_BLOCK, 1]
    assert found["loss"] == pytest.approx(LOSSES[spec.loss].value(net.logits(data.inputs), data.targets))


def test_evaluate_says_what_overflows_without_a_warning() -> None:
    data = line(10, "float32")
    net = network(1, 1, dtype="float32")
    net.vector[...] = 1e38
    found = evaluate(net, replace(data, inputs=data.inputs * 100), training())
    assert not math.isfinite(found["loss"])
