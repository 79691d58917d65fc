from __future__ import annotations

import math
import tracemalloc
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nn import DivergedError, Epoch, InputError, Samples, ShapeError, SpecError, fit, schedules
from nn.activations import Array
from nn.features import PixelFeatures
from nn.fitting import FETCH, FitState, evaluate, steps_per_epoch, training_memory
from nn.network import EVALUATION_BLOCK
from nn.spec import (
    AdamSpec,
    AugmentationSpec,
    ConstantSpec,
    CosineSpec,
    DTypeName,
    EarlyStoppingSpec,
    ExponentialSpec,
    LossName,
    NetworkSpec,
    OneCycleSpec,
    PlateauSpec,
    ScheduleSpec,
    SGDSpec,
    StepSpec,
    TrainingSpec,
)
from tests.nn.support import DTYPES, Shorthand, average_pool, conv, layers, network, samples, training


@dataclass
class Spy:
    """Takes numbers as they are, and notes them; the number of a sample stands in its first column."""

    fetched: list[list[int]] = field(default_factory=list)

    def encode(self, raw: NDArray[Any], out: Array) -> None:
        self.fetched.append(raw[:, 0].astype(int).tolist())
        out[...] = raw


@dataclass(frozen=True, kw_only=True)
class WatchedPixels(PixelFeatures):
    """Notes the pictures that it is given."""

    seen: list[NDArray[np.uint8]] = field(default_factory=list, compare=False)

    def encode(self, raw: NDArray[Any], out: Array) -> None:
        self.seen.append(raw.copy())
        super().encode(raw, out)


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


def pictures(n_samples: int, rng: np.random.Generator, side: int = 28, features: type = PixelFeatures) -> Samples:
    raw = rng.integers(0, 256, (n_samples, side * side), np.uint8)
    return Samples(raw, rng.integers(0, 10, n_samples), np.arange(n_samples), features(height=side, width=side))


def generator(seed: int = 5) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 10, 64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_learns_a_line_with_any_batch_size(batch_size: int, dtype: DTypeName) -> None:
    """10 samples: batches of one, last batches that are short, one batch of all, a batch larger than the data."""
    net = network(1, 1, dtype=dtype)
    result = fit(net, line(10, dtype), training(0.1, epochs=300, batch_size=batch_size), generator())
    assert net.arrays["layers.0.weight"].item() == pytest.approx(2, rel=1e-3)
    assert net.arrays["layers.0.bias"].item() == pytest.approx(-1, rel=1e-3)
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


@pytest.mark.parametrize("dtype", ["float16", "float32", ">f8", "int32", "uint8", "bool"])
def test_samples_may_be_kept_in_any_real_dtype(dtype: str) -> None:
    x = np.array([[0, 1], [1, 0], [1, 1], [0, 0]])
    y = x.sum(axis=1, keepdims=True)
    nets = network(2, 1, dtype="float32"), network(2, 1, dtype="float32")
    for net, given in zip(nets, (x.astype("float32"), x.astype(dtype)), strict=True):
        fit(net, samples(given, y.astype("float32")), training(epochs=2, batch_size=3), generator())
    np.testing.assert_array_equal(nets[0].vector, nets[1].vector)


class TestOrder:
    def test_every_sample_is_seen_once_an_epoch_in_another_order(self) -> None:
        data, spy = numbered(10)
        fit(network(1, 1), data, training(1e-9, epochs=2, batch_size=4), generator())
        first, second = spy.fetched
        assert sorted(first) == sorted(second) == list(range(10))
        assert first != second
        assert first != sorted(first)

    @pytest.mark.parametrize(("batch_size", "at_once"), [(4, FETCH), (100, 200), (128, 256), (300, 300), (900, 700)])
    def test_small_batches_are_fetched_together(self, batch_size: int, at_once: int) -> None:
        data, spy = numbered(700)
        fit(network(1, 1), data, training(1e-9, epochs=1, batch_size=batch_size), generator())
        whole, rest = divmod(700, at_once)
        assert [len(rows) for rows in spy.fetched] == [at_once] * whole + [rest] * (rest > 0)
        assert sorted(chain(*spy.fetched)) == list(range(700))

    def test_a_short_last_batch_counts_by_its_samples_in_the_loss(self) -> None:
        data, _ = numbered(5)
        net = network(1, 1)
        net.vector[...] = [1, 0]
        result = fit(net, data, training(1e-12, epochs=1, batch_size=4), generator())
        assert result.epochs[0].training["loss"] == pytest.approx((1 + 4 + 9 + 16) / 5)

    def test_the_rows_alone_decide_what_is_seen(self) -> None:
        """Other rows of the same arrays may hold anything."""
        data = replace(line(10), rows=np.array([0, 3, 5]))
        spoilt = replace(data, inputs=data.inputs.copy(), targets=data.targets.copy())
        spoilt.inputs[[1, 2, 4, 6, 7, 8, 9]] = np.nan
        spoilt.targets[[1, 2, 4, 6, 7, 8, 9]] = np.nan
        nets = network(1, 1), network(1, 1)
        for net, given in zip(nets, (data, spoilt), strict=True):
            fit(net, given, training(epochs=3), generator())
        np.testing.assert_array_equal(nets[0].vector, nets[1].vector)

    def test_same_generator_same_weights_other_generator_others(self) -> None:
        vectors = []
        for seed in (1, 1, 2):
            net = network(1, 8, "tanh", 1)
            fit(net, line(20), training(epochs=3, batch_size=4), generator(seed))
            vectors.append(net.vector)
        np.testing.assert_array_equal(vectors[0], vectors[1])
        assert (vectors[0] != vectors[2]).any()


class TestValidation:
    def test_its_samples_are_measured_and_never_trained_on(self) -> None:
        data, seen = numbered(20)
        watched = Spy()
        held_back = Samples(data.inputs, data.targets, np.arange(15, 20), watched)
        net, alone = network(1, 1), network(1, 1)
        spec = training(1e-5, epochs=3, batch_size=4)
        part = replace(data, rows=np.arange(15))
        result = fit(net, part, spec, generator(), validation=held_back)
        assert {number for fetched in seen.fetched for number in fetched} == set(range(15))
        assert watched.fetched == [[15, 16, 17, 18, 19]] * 3
        assert result.epochs[-1].validation == evaluate(net, held_back, spec)
        fit(alone, part, spec, generator())
        np.testing.assert_array_equal(net.vector, alone.vector)

    def test_it_goes_through_the_network_as_a_prediction_does(self, rng: np.random.Generator) -> None:
        """Nothing is dropped out, batches are normalised by the running statistics, and these stay as they are."""
        data = two_clouds(50, rng)
        part, held_back = replace(data, rows=np.arange(40)), replace(data, rows=np.arange(40, 50))
        net = network(2, 8, "batch_norm", "relu", "dropout", 2, loss="cross_entropy")
        spec = training(0.01, loss="cross_entropy", epochs=2, batch_size=13)
        result = fit(net, part, spec, generator(), validation=held_back)
        answers = net.predict(held_back.inputs[40:])
        loss = -np.log(answers[np.arange(10), held_back.targets[40:]]).mean()
        assert result.epochs[-1].validation["loss"] == pytest.approx(loss)
        statistics = net.statistics.copy()
        evaluate(net, held_back, spec)
        np.testing.assert_array_equal(net.statistics, statistics)

    def test_a_last_batch_of_one_sample_is_normalised_too(self, rng: np.random.Generator) -> None:
        net = network(2, 8, "batch_norm", "relu", 2, loss="cross_entropy")
        result = fit(net, two_clouds(9, rng), training(loss="cross_entropy", epochs=3, batch_size=4), generator())
        assert len(result.epochs) == 3
        assert np.isfinite(net.vector).all()
        assert (net.arrays["layers.1.variance"] >= 0).all()


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


def test_on_state_comes_behind_on_epoch_with_the_epochs_done() -> None:
    told: list[tuple[str, int]] = []

    def keep(state: FitState) -> None:
        told.append(("state", len(state.epochs)))

    fit(
        network(1, 1),
        line(10),
        training(epochs=2),
        generator(),
        on_epoch=lambda epoch: told.append(("epoch", epoch.epoch)),
        on_state=keep,
    )
    assert told == [("epoch", 1), ("state", 1), ("epoch", 2), ("state", 2)]


class TestThreads:
    """Whatever their number, the result is the same bit for bit."""

    NETWORKS = (
        (conv(3), "batch_norm", "relu", "max_pool2d", "dropout", conv(4, padding="same"), "gelu", "flatten", 8, 10),
        (conv(3, stride=2), "elu", average_pool(), "global_average_pool2d", "batch_norm", "dropout", 10),
        (16, "relu", 10),
    )

    @pytest.mark.parametrize("shorthand", NETWORKS, ids=["conv", "strided", "dense"])
    def test_give_the_same_numbers(self, shorthand: tuple[Shorthand, ...], rng: np.random.Generator) -> None:
        data = pictures(90, rng, side=12)
        part, held_back = replace(data, rows=np.arange(75)), replace(data, rows=np.arange(75, 90))
        spec = training(
            0.05, loss="cross_entropy", epochs=2, batch_size=50, augmentation=AugmentationSpec(shift=1, elastic=1)
        )
        found: list[tuple[bytes, bytes, list[dict[str, float]]]] = []
        for threads in (1, 2, 3, 8):
            net = network((12, 12, 1), *shorthand, loss="cross_entropy", dtype="float32")
            result = fit(net, part, spec, generator(), validation=held_back, threads=threads)
            told = [epoch.training | epoch.validation for epoch in result.epochs]
            found.append((net.vector.tobytes(), net.statistics.tobytes(), told))
        assert all(other == found[0] for other in found)

    def test_what_breaks_in_one_of_them_is_raised(self, rng: np.random.Generator) -> None:
        class Broken(PixelFeatures):
            def encode(self, raw: NDArray[Any], out: Array) -> None:
                raise RuntimeError("broken")

        net = network((12, 12, 1), conv(3), "flatten", 10, loss="cross_entropy")
        with pytest.raises(RuntimeError, match="broken"):
            fit(net, pictures(90, rng, 12, Broken), training(loss="cross_entropy"), generator(), threads=3)


def by_hand(
    data: Samples, spec: TrainingSpec, validation: Samples | None = None
) -> tuple[list[float], list[float], Array]:
    """Gradient descent on one weight and one bias from 0, with the schedule's rates: the rates and losses by step."""
    rng = generator()
    weights = np.zeros(2)
    x, y = data.inputs[:, 0], data.targets[:, 0]
    steps = math.ceil(len(data) / spec.batch_size)
    schedule = schedules.build(spec.schedule, steps, spec.epochs)
    state = schedule.init()
    rates: list[float] = []
    losses: list[float] = []
    for _ in range(spec.epochs):
        order = rng.permutation(data.rows)
        squares = 0.0
        for start in range(0, len(order), spec.batch_size):
            batch = order[start : start + spec.batch_size]
            errors = weights[0] * x[batch] + weights[1] - y[batch]
            squares += (errors**2).sum()
            gradient = 2 * np.array([(errors * x[batch]).mean(), errors.mean()])
            rates.append(spec.optimizer.learning_rate * schedule.multiplier(len(rates), state))
            weights -= rates[-1] * gradient
        losses.append(squares / len(order))
        watched = losses[-1]
        if validation is not None:
            rows = validation.rows
            watched = float(((weights[0] * x[rows] + weights[1] - y[rows]) ** 2).mean())
        schedule.epoch_ended(watched, state)
    return rates, losses, weights


class TestSchedule:
    SCHEDULES: tuple[ScheduleSpec, ...] = (
        ConstantSpec(),
        StepSpec(every=2, factor=0.5),
        ExponentialSpec(factor=0.5),
        CosineSpec(warm_up=0.3),
        OneCycleSpec(),
        PlateauSpec(patience=1, factor=0.5, min_delta=10),
    )

    @pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule.type)
    @pytest.mark.parametrize("batch_size", [3, 10])
    def test_every_step_has_its_rate_and_epochs_tell_the_last(self, schedule: ScheduleSpec, batch_size: int) -> None:
        data = line(10)
        spec = training(0.2, epochs=6, batch_size=batch_size, schedule=schedule)
        rates, losses, weights = by_hand(data, spec)
        net = network(1, 1)
        net.vector[...] = 0
        result = fit(net, data, spec, generator())
        np.testing.assert_allclose(net.vector, weights, rtol=1e-12)
        steps = steps_per_epoch(10, spec)
        assert [epoch.learning_rate for epoch in result.epochs] == rates[steps - 1 :: steps]
        np.testing.assert_allclose([epoch.training["loss"] for epoch in result.epochs], losses, rtol=1e-10)
        assert len(set(rates)) > 1 or schedule.type == "constant"

    def test_a_plateau_is_one_of_the_validation_loss_where_there_is_one(self) -> None:
        """Training falls all the time; what is validated rises, since it lies on another line."""
        data = line(10)
        other = replace(data, targets=-data.targets, rows=np.array([0, 4, 9]))
        spec = training(0.05, epochs=5, batch_size=10, schedule=PlateauSpec(patience=1, factor=0.5))
        alone = fit(network(1, 1), data, spec, generator())
        watched = fit(network(1, 1), data, spec, generator(), validation=other)
        assert {epoch.learning_rate for epoch in alone.epochs} == {0.05}
        losses = [epoch.validation["loss"] for epoch in watched.epochs]
        assert losses == sorted(losses)
        assert [epoch.learning_rate for epoch in watched.epochs] == [0.05 / 2**n for n in (0, 0, 1, 2, 3)]


class TestStep:
    """What is done with the gradient of a batch, in one step of one batch of all."""

    def moved(self, data: Samples, spec: TrainingSpec) -> Array:
        net = network(1, 1)
        net.vector[...] = [1, 1]
        fit(net, data, replace(spec, epochs=1, batch_size=len(data)), generator())
        return net.vector - 1

    def test_clip_norm_limits_its_length_and_keeps_its_direction(self) -> None:
        data = line(10)
        free = self.moved(data, training(1))
        length = float(np.linalg.norm(free))
        np.testing.assert_allclose(self.moved(data, training(1, clip_norm=length / 4)), free / 4, rtol=1e-12)
        np.testing.assert_array_equal(self.moved(data, training(1, clip_norm=length * 1.01)), free)

    def test_weights_decay_and_biases_do_not(self) -> None:
        x = np.linspace(-1, 1, 10)[:, np.newaxis]
        spec = replace(training(), optimizer=SGDSpec(learning_rate=0.1, weight_decay=0.5))
        np.testing.assert_allclose(self.moved(samples(x, x + 1), spec), [-0.05, 0], atol=1e-15)

    def test_the_optimizer_is_the_one_that_is_asked_for(self) -> None:
        """Adam's first step has the length of the learning rate for each number, whatever the gradient."""
        spec = replace(training(), optimizer=AdamSpec(learning_rate=0.01))
        np.testing.assert_allclose(np.abs(self.moved(line(10), spec)), 0.01, rtol=1e-6)


class TestLoss:
    """Label smoothing and class weights, in the loss that is told and in the gradient."""

    @pytest.fixture
    def data(self, rng: np.random.Generator) -> Samples:
        return two_clouds(30, rng)

    def at_the_start(self, data: Samples, n_outputs: int, **fields: Any) -> tuple[float, Array]:
        """The loss before anything was learned, and the logits then."""
        loss: LossName = "cross_entropy" if n_outputs > 1 else "binary_cross_entropy"
        net = network(2, n_outputs, loss=loss)
        logits = net.logits(data.inputs)
        spec = training(1e-12, loss=loss, epochs=1, batch_size=7, **fields)
        result = fit(net, data, spec, generator(), validation=data)
        (epoch,) = result.epochs
        assert epoch.training["loss"] == pytest.approx(epoch.validation["loss"])
        return epoch.training["loss"], logits

    @pytest.mark.parametrize(("smoothing", "weights"), [(0.0, None), (0.2, None), (0.0, (1, 3)), (0.1, (0.5, 2))])
    def test_of_several_classes(self, smoothing: float, weights: tuple[float, ...] | None, data: Samples) -> None:
        found, logits = self.at_the_start(data, 2, label_smoothing=smoothing, class_weights=weights)
        aims = np.eye(2)[data.targets] * (1 - smoothing) + smoothing / 2
        costs = np.log(np.exp(logits).sum(axis=1)) - (aims * logits).sum(axis=1)
        assert found == pytest.approx((costs * np.array(weights or (1, 1))[data.targets]).mean())

    @pytest.mark.parametrize(("smoothing", "weights"), [(0.0, None), (0.2, None), (0.0, (1, 3)), (0.1, (0.5, 2))])
    def test_of_one_logit(self, smoothing: float, weights: tuple[float, ...] | None, data: Samples) -> None:
        found, logits = self.at_the_start(data, 1, label_smoothing=smoothing, class_weights=weights)
        aims = data.targets * (1 - smoothing) + smoothing / 2
        costs = np.log1p(np.exp(logits[:, 0])) - aims * logits[:, 0]
        assert found == pytest.approx((costs * np.array(weights or (1, 1))[data.targets]).mean())

    @pytest.mark.parametrize(("loss", "n_outputs"), [("cross_entropy", 2), ("binary_cross_entropy", 1)])
    def test_samples_of_a_class_of_weight_0_teach_nothing(self, loss: LossName, n_outputs: int, data: Samples) -> None:
        """Whatever they hold."""
        spoilt = replace(data, inputs=data.inputs.copy())
        spoilt.inputs[data.targets == 1] = 7
        nets = [network(2, 4, "tanh", n_outputs, loss=loss) for _ in range(2)]
        spec = training(loss=loss, epochs=2, batch_size=7, class_weights=(1.0, 0.0))
        for net, given in zip(nets, (data, spoilt), strict=True):
            fit(net, given, spec, generator())
        np.testing.assert_allclose(nets[0].vector, nets[1].vector, rtol=1e-12)

    def test_smoothed_labels_keep_answers_from_certainty(self, data: Samples) -> None:
        sure, unsure = (network(2, 16, "relu", 2, loss="cross_entropy") for _ in range(2))
        spec = training(0.5, loss="cross_entropy", epochs=200, batch_size=30)
        fit(sure, data, spec, generator())
        fit(unsure, data, replace(spec, label_smoothing=0.2), generator())
        # The loss is least where the answer is the smoothed label: 0.9.
        assert sure.predict(data.inputs).max() > 0.99
        assert np.median(unsure.predict(data.inputs).max(axis=1)) == pytest.approx(0.9, abs=0.03)


class TestAugmentation:
    SPEC = AugmentationSpec(shift=2, rotation=10, elastic=1.5)

    def seen(self, rng: np.random.Generator, **fields: Any) -> tuple[Samples, list[NDArray[np.uint8]]]:
        """The data set, and the pictures that the network got in each of two epochs."""
        data = pictures(40, rng, 12, WatchedPixels)
        assert isinstance(data.encoder, WatchedPixels)
        net = network((12, 12, 1), 10, loss="cross_entropy")
        fit(net, data, training(loss="cross_entropy", epochs=2, batch_size=16, **fields), generator(), threads=2)
        shown = np.concatenate(data.encoder.seen)
        assert shown.dtype == np.uint8
        return data, np.split(shown, 2)

    def test_without_it_pictures_are_seen_as_they_are(self, rng: np.random.Generator) -> None:
        data, epochs = self.seen(rng)
        for shown in epochs:
            assert sorted(map(bytes, shown)) == sorted(map(bytes, data.inputs))

    def test_with_it_every_picture_is_another_in_every_epoch(self, rng: np.random.Generator) -> None:
        data, epochs = self.seen(rng, augmentation=self.SPEC)
        shown = [set(map(bytes, pictures)) for pictures in (data.inputs, *epochs)]
        assert [len(pictures) for pictures in shown] == [40] * 3
        assert len(set.union(*shown)) == 120

    def test_the_data_set_stays_as_it_is(self, rng: np.random.Generator) -> None:
        data = pictures(40, rng, 12)
        before = data.inputs.copy()
        data.inputs.flags.writeable = False
        spec = training(loss="cross_entropy", epochs=2, augmentation=self.SPEC)
        fit(network((12, 12, 1), conv(2), "flatten", 10, loss="cross_entropy"), data, spec, generator())
        np.testing.assert_array_equal(data.inputs, before)

    def test_what_is_validated_is_not_distorted(self, rng: np.random.Generator) -> None:
        data, held_back = pictures(40, rng, 12), pictures(20, rng, 12, WatchedPixels)
        assert isinstance(held_back.encoder, WatchedPixels)
        spec = training(loss="cross_entropy", epochs=1, augmentation=self.SPEC)
        fit(network((12, 12, 1), 10, loss="cross_entropy"), data, spec, generator(), validation=held_back)
        np.testing.assert_array_equal(np.concatenate(held_back.encoder.seen), held_back.inputs)

    def test_of_what_are_no_pictures_is_refused(self) -> None:
        with pytest.raises(SpecError, match="#/training/augmentation: augmentation distorts pictures, and these are"):
            fit(network(1, 1), line(10), training(augmentation=self.SPEC), generator())


class TestShouldStop:
    @pytest.mark.parametrize(
        ("batch_size", "asked"),
        [
            (4, [0, 64, 100, 164]),
            (100, [0, 2, 4, 6]),
            (256, [0, 1, 2, 3]),
            (300, [0, 1, 2, 3]),
            (400, [0, 1]),
            (1000, [0, 1]),
        ],
    )
    def test_is_asked_before_each_fetch_with_the_batches_done(self, batch_size: int, asked: list[int]) -> None:
        told: list[int] = []

        def never(step: int) -> bool:
            told.append(step)
            return False

        spec = training(1e-3, epochs=2, batch_size=batch_size)
        fit(network(1, 1), line(400), spec, generator(), should_stop=never)
        assert told == asked
        assert steps_per_epoch(400, spec) * 2 == {4: 200, 100: 8}.get(batch_size, 2 * math.ceil(400 / batch_size))

    @pytest.mark.parametrize(("after", "n_epochs"), [(0, 0), (1, 0), (2, 1), (3, 1)])
    def test_ends_training_within_the_epoch(self, after: int, n_epochs: int) -> None:
        net = network(1, 1)
        before = net.vector.copy()
        spec = training(epochs=9, batch_size=256)
        result = fit(net, line(400), spec, generator(), should_stop=lambda step: step == after)
        assert result.stopped
        assert len(result.epochs) == result.best_epoch == n_epochs
        assert (net.vector == before).all() == (after == 0)

    def test_is_not_asked_once_training_is_over(self) -> None:
        asked: list[int] = []

        def at_the_end(step: int) -> bool:
            asked.append(step)
            return step >= 4

        result = fit(network(1, 1), line(10), training(epochs=4, batch_size=10), generator(), should_stop=at_the_end)
        assert (result.stopped, asked) == (False, [0, 1, 2, 3])


class TestEarlyStopping:
    """A rate at which the validation loss falls to a best epoch, and training goes on to overfit."""

    def overfitting(self, rng: np.random.Generator, **fields: Any) -> tuple[Samples, Samples, TrainingSpec]:
        x = rng.uniform(-1, 1, (60, 1))
        y = x + rng.standard_normal((60, 1))
        data = samples(x, y)
        spec = training(0.2, epochs=400, batch_size=4, **fields)
        return replace(data, rows=np.arange(12)), replace(data, rows=np.arange(12, 60)), spec

    @pytest.mark.parametrize("shorthand", [(16, "tanh", 1), (16, "batch_norm", "tanh", 1)], ids=str)
    def test_restores_the_best_weights_and_statistics(
        self, shorthand: tuple[int | str, ...], rng: np.random.Generator
    ) -> None:
        data, validation, spec = self.overfitting(rng, early_stopping=EarlyStoppingSpec(patience=10))
        net = network(1, *shorthand, seed=2)
        kept: list[tuple[Array, Array]] = []

        def keep(epoch: Epoch) -> None:
            kept.append((net.vector.copy(), net.statistics.copy()))

        result = fit(net, data, spec, generator(), validation=validation, on_epoch=keep)
        losses = [epoch.validation["loss"] for epoch in result.epochs]
        assert result.best_epoch == 1 + int(np.argmin(losses)) < spec.epochs
        assert len(losses) == result.best_epoch + 10
        assert not result.stopped
        for values, best, last in zip((net.vector, net.statistics), kept[result.best_epoch - 1], kept[-1], strict=True):
            np.testing.assert_array_equal(values, best)
            assert not values.size or (values != last).any()
        assert evaluate(net, validation, spec)["loss"] == min(losses)

    def test_also_restores_them_when_it_is_told_to_stop(self, rng: np.random.Generator) -> None:
        data, validation, spec = self.overfitting(rng, early_stopping=EarlyStoppingSpec(patience=1000))
        net = network(1, 16, "tanh", 1, seed=2)
        result = fit(net, data, spec, generator(), validation=validation, should_stop=lambda step: step == 300)
        assert result.stopped
        losses = [epoch.validation["loss"] for epoch in result.epochs]
        assert evaluate(net, validation, spec)["loss"] == min(losses) < losses[-1]

    def test_told_to_stop_before_the_first_epoch_it_leaves_the_weights(self, rng: np.random.Generator) -> None:
        data, validation, spec = self.overfitting(rng, early_stopping=EarlyStoppingSpec())
        net = network(1, 16, "tanh", 1, seed=2)
        before = net.vector.copy()
        assert fit(net, data, spec, generator(), validation=validation, should_stop=lambda _: True).epochs == []
        np.testing.assert_array_equal(net.vector, before)

    def test_a_fall_of_less_than_min_delta_is_a_plateau(self, rng: np.random.Generator) -> None:
        early = EarlyStoppingSpec(patience=3, min_delta=1e6)
        data, validation, spec = self.overfitting(rng, early_stopping=early)
        result = fit(network(1, 16, "tanh", 1), data, spec, generator(), validation=validation)
        assert result.best_epoch == 1
        assert len(result.epochs) == 4

    def test_without_it_the_last_weights_stay(self, rng: np.random.Generator) -> None:
        data, validation, spec = self.overfitting(rng)
        spec = replace(spec, epochs=150)
        net = network(1, 16, "tanh", 1, seed=2)
        result = fit(net, data, spec, generator(), validation=validation)
        losses = [epoch.validation["loss"] for epoch in result.epochs]
        assert result.best_epoch == 150
        assert evaluate(net, validation, spec)["loss"] == losses[-1] > min(losses)


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

    @pytest.mark.parametrize("threads", [1, 3])
    def test_of_a_network_for_pictures_comes_without_a_warning(self, threads: int, rng: np.random.Generator) -> None:
        shorthand = (conv(3), "batch_norm", "leaky_relu", conv(3), "flatten", 10)
        net = network((12, 12, 1), *shorthand, loss="cross_entropy", dtype="float32")
        spec = training(1000, loss="cross_entropy", epochs=50, batch_size=32)
        with pytest.raises(DivergedError):
            fit(net, pictures(90, rng, 12), spec, generator(), threads=threads)


SMALL_CONV: tuple[Shorthand, ...] = (conv(4), "relu", "max_pool2d", "flatten", 10)
TWO_CONV: tuple[Shorthand, ...] = (conv(8), "relu", "max_pool2d", conv(16), "relu", "max_pool2d", "flatten", 10)
DEEP: tuple[Shorthand, ...] = (
    *(conv(8, padding="same"), "batch_norm", "gelu", average_pool()),
    *(conv(16, padding="same"), "batch_norm", "leaky_relu", "dropout"),
    *("global_average_pool2d", 10),
)
MANY_FILTERS: tuple[Shorthand, ...] = (
    *(conv(32, stride=4), "relu", conv(128), "relu", conv(128)),
    *("global_average_pool2d", 10),
)
# Networks for pictures of 28 × 28, the number of samples, the size of a batch, and what else there is.
RECKONED: dict[str, tuple[tuple[Shorthand, ...], int, int, dict[str, Any]]] = {
    "many outputs": ((100, "tanh", 100), 2_000, 16, {"loss": "mean_squared_error"}),
    "a batch of all": ((16, "relu", 10), 5_000, 5_000, {}),
    "much to validate": ((64, "softmax", 10), 1_000, 64, {"held_back": 1_500}),
    "a long last batch": ((512, "relu", 10), 1_999, 1_000, {}),
    "dense with everything": (
        *((256, "batch_norm", "gelu", "dropout", 10), 999, 256),
        {"optimizer": AdamSpec(), "held_back": 50},
    ),
    "many weights": ((1500, "relu", 1000, "relu", 10), 100, 16, {"optimizer": AdamSpec(), "held_back": 20}),
    "conv": (TWO_CONV, 96, 32, {}),
    "conv with a long last batch": (TWO_CONV, 127, 64, {}),
    "conv with everything": (
        *(DEEP, 128, 64),
        {"augmentation": AugmentationSpec(shift=1, elastic=1), "held_back": 50},
    ),
    "conv of large kernels": (
        *((conv(32, 5, padding="same"), "elu", "max_pool2d", conv(32, 5), "flatten", 10), 64, 32),
        {"held_back": 50},
    ),
    "conv of many filters": (MANY_FILTERS, 128, 128, {}),
    "conv of the whole picture": ((conv(400, 28), "relu", "flatten", 10), 256, 256, {}),
    "conv shared by three threads": (
        *((conv(64, 1), "relu", conv(64, 1), "global_average_pool2d", 10), 64, 16),
        {"held_back": 50, "threads": 3},
    ),
    "conv of many weights, two and one": ((conv(48), conv(96, 5), "global_average_pool2d", 10), 3, 2, {}),
    "conv of many weights, evaluated": (
        *((conv(48), conv(96, 5), "global_average_pool2d", 10), 3, 2),
        {"held_back": 50},
    ),
    "conv one by one": (SMALL_CONV, 100, 1, {"held_back": 50, "optimizer": AdamSpec()}),
    "no weights in pictures": (("max_pool2d", "flatten", 10), 100, 64, {"held_back": 50}),
}


class TestMemory:
    def peak(
        self,
        data: Samples,
        spec: TrainingSpec,
        *shorthand: Shorthand,
        validation: Samples | None = None,
        threads: int = 1,
    ) -> int:
        """Bytes that NumPy and Python held at most while a network was made and trained."""
        assert isinstance(data.encoder, PixelFeatures)
        tracemalloc.start()
        try:
            net = network(data.encoder.shape, *shorthand, loss=spec.loss, dtype="float32")
            fit(net, data, spec, generator(), validation=validation, threads=threads)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    @pytest.mark.parametrize("shorthand", [(8, 10), SMALL_CONV], ids=["dense", "conv"])
    @pytest.mark.parametrize("augmentation", [None, AugmentationSpec(shift=1)], ids=["plain", "augmented"])
    def test_no_picture_is_copied_but_for_its_batch(
        self, shorthand: tuple[Shorthand, ...], augmentation: AugmentationSpec | None, rng: np.random.Generator
    ) -> None:
        """A picture costs its place in the order, its label and its logits, not its pixels."""
        data = pictures(2_000, rng, side=12)
        spec = training(0.01, loss="cross_entropy", epochs=2, batch_size=50, augmentation=augmentation)
        few, many = (self.peak(replace(data, rows=np.arange(n)), spec, *shorthand) for n in (500, 2_000))
        order_label_and_logits = 8 + 8 + 10 * 4
        assert many - few < 1_500 * 3 * order_label_and_logits
        assert few < 500 * 144 + training_memory(NetworkSpec(layers=layers(*shorthand)), (12, 12, 1), spec, 500)

    def test_steps_take_no_memory_beyond_the_first(self, rng: np.random.Generator) -> None:
        """From the second fetch on, what a step holds for a moment is less than the bytes of its pictures."""
        data = pictures(2_000, rng)
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
            net = network(784, 64, "relu", 10, loss="cross_entropy", dtype="float32")
            spec = training(loss="cross_entropy", epochs=1, batch_size=200)
            fit(net, data, spec, generator(), should_stop=measure)
        finally:
            tracemalloc.stop()
        mask_of_relu, buffer_of_a_cast = 200 * 64, 2**16
        assert len(growth) == 8
        assert max(growth) < mask_of_relu + buffer_of_a_cast < 200 * 784

    @pytest.mark.parametrize("case", RECKONED)
    def test_is_at_most_what_training_memory_reckons_and_not_much_less(
        self, case: str, rng: np.random.Generator
    ) -> None:
        shorthand, n_samples, batch_size, fields = RECKONED[case]
        given = dict(fields)
        n_held_back, threads = given.pop("held_back", 0), given.pop("threads", 1)
        early = EarlyStoppingSpec() if n_held_back else None
        spec = replace(training(0.001, loss="cross_entropy", epochs=2, batch_size=batch_size), **given)
        spec = replace(spec, early_stopping=early)
        data = pictures(n_samples + n_held_back, rng)
        if spec.loss == "mean_squared_error":
            data = replace(data, targets=rng.standard_normal((n_samples, 100)).astype("float32"))
        held_back = replace(data, rows=data.rows[n_samples:]) if n_held_back else None
        trained = replace(data, rows=data.rows[:n_samples])
        reckoned = training_memory(NetworkSpec(layers=layers(*shorthand)), (28, 28, 1), spec, n_samples)
        peak = self.peak(trained, spec, *shorthand, validation=held_back, threads=threads)
        assert reckoned / 5 < peak <= reckoned

    @pytest.mark.parametrize("batch_size", [1, 10_000, 65_536])
    def test_is_reckoned_without_allocating(self, batch_size: int) -> None:
        spec = NetworkSpec(layers=layers(conv(4096, 9, padding="same"), "relu", "flatten", 1_000_000, 10))
        tracemalloc.start()
        try:
            reckoned = training_memory(spec, (28, 28, 1), training(batch_size=batch_size), 60_000)
            assert tracemalloc.get_traced_memory()[1] < 100_000
        finally:
            tracemalloc.stop()
        assert reckoned > 4 * (4096 * 28 * 28 * 1_000_000)


class TestEvaluate:
    def test_takes_samples_in_blocks(self) -> None:
        data, spy = numbered(2 * EVALUATION_BLOCK + 1)
        net = network(1, 1)
        found = evaluate(net, data, training())
        assert [len(fetched) for fetched in spy.fetched] == [EVALUATION_BLOCK, EVALUATION_BLOCK, 1]
        errors = net.logits(data.inputs) - data.targets
        assert found["loss"] == pytest.approx((errors**2).mean())
        assert found["rmse"] == pytest.approx(math.sqrt(found["loss"]))

    def test_says_what_overflows_without_a_warning(self) -> None:
        data = line(10, "float32")
        net = network(1, 1, dtype="float32")
        net.vector[...] = 1e38
        found = evaluate(net, replace(data, inputs=data.inputs * 100), training())
        assert not math.isfinite(found["loss"])


class TestWhatDoesNotFit:
    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"targets": np.array([0, 1, -1, 2])}, "a class number, from 0 to 2"),
            ({"targets": np.array([0, 1, 3, 2])}, "a class number, from 0 to 2"),
            ({"targets": np.array([0.0, 1, 1, 2])}, "a class number, from 0 to 2"),
            ({"targets": np.array([[0], [1], [1], [2]])}, "a class number, from 0 to 2"),
            ({"targets": np.array([0, 1, 2])}, "4 inputs with a target each"),
            ({"rows": np.array([0, -1])}, "rows, at least one, of 4 inputs"),
            ({"rows": np.array([0, 4])}, "rows, at least one, of 4 inputs"),
            ({"rows": np.arange(0)}, "rows, at least one, of 4 inputs"),
        ],
    )
    def test_samples_of_a_classification(self, change: dict[str, Any], told: str, rng: np.random.Generator) -> None:
        data = replace(samples(rng.standard_normal((4, 2)), np.array([0, 1, 1, 2])), **change)
        with pytest.raises(InputError, match=told):
            fit(network(2, 3, loss="cross_entropy"), data, training(loss="cross_entropy"), generator())

    def test_targets_of_a_regression_without_their_axis(self, rng: np.random.Generator) -> None:
        data = samples(rng.standard_normal((4, 2)), rng.standard_normal(4))
        with pytest.raises(ShapeError, match=r"targets of shape \(1,\); got \(\)"):
            fit(network(2, 1), data, training(batch_size=1), generator())

    def test_an_output_of_another_loss(self) -> None:
        with pytest.raises(SpecError, match="cross_entropy needs the output softmax; got identity"):
            fit(network(1, 2), line(4), training(loss="cross_entropy"), generator())

    def test_early_stopping_with_nothing_to_watch(self) -> None:
        with pytest.raises(SpecError, match="early stopping watches validation samples"):
            fit(network(1, 1), line(4), training(early_stopping=EarlyStoppingSpec()), generator())

    def test_batches_of_one_row_that_would_be_normalised(self) -> None:
        with pytest.raises(SpecError, match="batch_norm of rows needs at least 2 samples a batch"):
            fit(network(1, "batch_norm", 1), line(4), training(batch_size=1), generator())

    def test_augmentation_of_pictures_that_are_no_bytes(self, rng: np.random.Generator) -> None:
        data = Samples(rng.random((4, 784)), np.arange(4) % 2, np.arange(4), PixelFeatures(height=28, width=28))
        spec = replace(training(loss="cross_entropy"), augmentation=AugmentationSpec(shift=1))
        with pytest.raises(SpecError, match="augmentation takes pictures as uint8; got float64"):
            fit(network(784, 2, loss="cross_entropy"), data, spec, generator())
