from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from nn import losses, memory, tape
from nn.activations import Array
from nn.crew import Crew
from nn.layers import PICTURES, Dense, Shape
from nn.losses import LOSSES, Objective
from nn.network import LAYERS, Network
from nn.schema import type_names
from nn.spec import DTypeName, LayerSpec, LossName
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
    assert_gradient,
    central_differences,
    conv,
    layers,
    logits_and_targets,
    max_pool,
    network,
    training,
    unsettle,
)

each_body = pytest.mark.parametrize(("shape", "body"), BODIES.values(), ids=BODIES)


def objective(loss: LossName) -> Objective:
    return losses.build(training(loss=loss))


def gradients_of(net: Network, loss: Objective, x: Array, targets: NDArray[Any], crew: Crew | None = None) -> Array:
    """The gradients of a training step, dropout by a seed of its own."""
    gradients = np.full_like(net.vector, np.nan)
    passed = Tape(net, len(x), gradients, crew)
    passed.draw(np.random.default_rng(3))
    logits = passed.forward(x)
    dlogits = np.empty_like(logits)
    loss.gradient(logits, targets, dlogits)
    passed.backward(dlogits)
    return gradients


def assert_network_gradient(net: Network, loss: Objective, x: Array, targets: NDArray[Any]) -> None:
    passed = Tape(net, len(x), np.empty_like(net.vector))
    passed.draw(np.random.default_rng(3))
    found = gradients_of(net, loss, x, targets)
    assert_gradient(found, central_differences(lambda: loss.value(passed.forward(x), targets), net.vector))
    with Crew(3) as crew:
        np.testing.assert_array_equal(gradients_of(net, loss, x, targets, crew), found)


class TestGradients:
    def test_the_table_has_every_kind_of_layer_that_the_spec_knows(self) -> None:
        known = set(chain.from_iterable(map(type_names, get_args(LayerSpec))))
        found = {spec.type for _, body in BODIES.values() for spec in layers(*body)} | {"dense"}
        assert found == known == set(LAYERS)

    @each_body
    @pytest.mark.parametrize("loss_name", LOSSES)
    @pytest.mark.parametrize("n_samples", [1, 5])
    def test_agree_with_central_differences_and_not_with_the_number_of_threads(
        self,
        shape: Shape,
        body: tuple[Shorthand, ...],
        loss_name: LossName,
        n_samples: int,
        rng: np.random.Generator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Five samples make blocks of two and a short last one."""
        monkeypatch.setattr(tape, "PICTURES", 2)
        logits, targets = logits_and_targets(loss_name, n_samples, rng, n_outputs=2)
        net = unsettle(network(shape, *body, logits.shape[1], loss=loss_name), rng)
        assert_network_gradient(net, objective(loss_name), rng.standard_normal((n_samples, *shape)), targets)

    @pytest.mark.parametrize("n_samples", [PICTURES, PICTURES + 1, 2 * PICTURES + 3])
    def test_of_blocks_as_they_are(self, n_samples: int, rng: np.random.Generator) -> None:
        body = (conv(2, 2), "batch_norm", "relu", max_pool(), "dropout", "flatten")
        _, targets = logits_and_targets("cross_entropy", n_samples, rng, n_outputs=2)
        net = unsettle(network(PICTURE, *body, 2, loss="cross_entropy"), rng)
        assert_network_gradient(net, objective("cross_entropy"), rng.standard_normal((n_samples, *PICTURE)), targets)

    @pytest.mark.parametrize("body", [(), (4, "relu"), ("tanh", 4), ("dropout", 4)], ids=str)
    def test_nobody_computes_one_for_the_input(
        self, body: tuple[Shorthand, ...], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given: list[Array | None] = []
        backward = Dense.backward

        def spied(*args: Any) -> Array | None:
            given.append(backward(*args))
            return given[-1]

        monkeypatch.setattr(Dense, "backward", spied)
        net = network(3, *body, 2)
        passed = Tape(net, 5, np.empty_like(net.vector))
        passed.draw(np.random.default_rng(0))
        passed.backward(np.ones_like(passed.forward(np.ones((5, 3)))))
        *above, first = given
        assert first is None
        assert all(dx is not None for dx in above)

    @each_body
    def test_the_next_batch_has_its_own(
        self, shape: Shape, body: tuple[Shorthand, ...], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No buffer has anything left of the batch before."""
        monkeypatch.setattr(tape, "PICTURES", 2)
        net = network(shape, *body, 2)
        gradients = np.full_like(net.vector, np.nan)
        passed = Tape(net, 3, gradients)
        passed.draw(np.random.default_rng(3))
        loss, targets = objective("mean_squared_error"), rng.standard_normal((3, 2))
        for x in rng.standard_normal((2, 3, *shape)):
            logits = passed.forward(x)
            dlogits = np.empty_like(logits)
            loss.gradient(logits, targets, dlogits)
            passed.backward(dlogits)
            np.testing.assert_array_equal(gradients, gradients_of(net, loss, x, targets))

    @each_body
    def test_do_not_depend_on_what_was_in_the_memory(
        self, shape: Shape, body: tuple[Shorthand, ...], rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tape, "PICTURES", 2)
        net = unsettle(network(shape, *body, 2), rng)
        loss, x, targets = (
            objective("mean_squared_error"),
            rng.standard_normal((3, *shape)),
            rng.standard_normal((3, 2)),
        )
        statistics = net.statistics.copy()
        expected = net.predict(x), gradients_of(net, loss, x, targets)

        def empty(shape: int | tuple[int, ...], dtype: Any = float) -> NDArray[Any]:
            return np.full(shape, True if np.dtype(dtype).kind == "b" else np.nan, dtype)

        for module in (np, memory):
            monkeypatch.setattr(module, "empty", empty)
        net.statistics[...] = statistics
        found = net.predict(x), gradients_of(net, loss, x, targets)
        for values, wanted in zip(found, expected, strict=True):
            np.testing.assert_array_equal(values, wanted)

    def test_a_network_without_parameters_has_none(self) -> None:
        net = network(3, "identity", "tanh")
        passed = Tape(net, 2, np.empty(0))
        x = np.array([[1.0, 2, 3], [0, 0, 0]])
        np.testing.assert_array_equal(passed.forward(x), np.tanh(x))
        passed.backward(np.ones((2, 3)))


class TestForward:
    @each_body
    @pytest.mark.parametrize("dtype", DTYPES)
    def test_gives_the_logits_and_leaves_its_input_alone(
        self,
        shape: Shape,
        body: tuple[Shorthand, ...],
        dtype: DTypeName,
        rng: np.random.Generator,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Of layers that do in training what they do in predictions."""
        monkeypatch.setattr(tape, "PICTURES", 2)
        same = [item for item in layers(*body) if item.type not in ("dropout", "batch_norm")]
        net = unsettle(network(shape, *same, 2, dtype=dtype), rng)
        passed = Tape(net, 5, np.empty_like(net.vector))
        x = rng.standard_normal((5, *shape)).astype(dtype)
        before = x.copy()
        buffer = passed.forward(x)
        assert buffer.dtype == dtype
        np.testing.assert_allclose(buffer, net.logits(x), rtol=1e-4 if dtype == "float32" else 1e-10, atol=1e-6)
        passed.backward(np.ones_like(buffer))
        assert passed.forward(x) is buffer
        np.testing.assert_array_equal(x, before)

    @pytest.mark.parametrize("body", [("dropout", "relu"), ("tanh", "dropout"), ("batch_norm", "relu")], ids=str)
    @pytest.mark.parametrize("shape", [ROW, PICTURE], ids=["rows", "pictures"])
    def test_leaves_its_input_alone_whatever_comes_first(
        self, shape: Shape, body: tuple[Shorthand, ...], rng: np.random.Generator
    ) -> None:
        net = network(shape, *body, *(("flatten",) if shape == PICTURE else ()), 2)
        passed = Tape(net, 3, np.empty_like(net.vector))
        x = rng.standard_normal((3, *shape))
        before = x.copy()
        passed.draw(rng)
        passed.backward(np.ones_like(passed.forward(x)))
        np.testing.assert_array_equal(x, before)

    def test_a_draw_comes_from_the_generator_alone(self, rng: np.random.Generator) -> None:
        net = network(PICTURE, conv(2), "dropout", "flatten", "dropout", 2)
        x = rng.standard_normal((PICTURES + 2, *PICTURE))

        def logits(seed: int) -> Array:
            passed = Tape(net, len(x), np.empty_like(net.vector))
            passed.draw(np.random.default_rng(seed))
            return passed.forward(x).copy()

        np.testing.assert_array_equal(logits(1), logits(1))
        assert (logits(1) != logits(2)).any()

    def test_each_draw_is_another(self, rng: np.random.Generator) -> None:
        net = network(PICTURE, conv(2), "dropout", "flatten", 2)
        passed = Tape(net, PICTURES + 2, np.empty_like(net.vector))
        x = np.ones((PICTURES + 2, *PICTURE))
        passed.draw(rng)
        first = passed.forward(x).copy()
        # The blocks have masks of their own too.
        assert len(np.unique(first, axis=0)) > len(first) // 2
        passed.draw(rng)
        assert (passed.forward(x) != first).any()


class TestThreads:
    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("last", [GLOBAL, "flatten"])
    def test_the_weights_after_some_steps_are_the_same_bit_for_bit(
        self, last: str, dtype: DTypeName, rng: np.random.Generator
    ) -> None:
        body = [last if item == "flatten" else item for item in EVERYTHING]
        sizes = (3 * PICTURES + 5, 3 * PICTURES + 5, PICTURES + 1, 1)
        batches = [rng.standard_normal((n, *LARGER)).astype(dtype) for n in sizes]
        targets = [rng.integers(0, 3, n) for n in sizes]
        found = []
        for n_threads in (1, 2, 5):
            net = network(LARGER, *body, loss="cross_entropy", dtype=dtype)
            gradients, loss, draws = np.empty_like(net.vector), objective("cross_entropy"), np.random.default_rng(1)
            with Crew(n_threads) as crew:
                tapes = {n: Tape(net, n, gradients, crew) for n in set(sizes)}
                for x, wanted in zip(batches * 2, targets * 2, strict=True):
                    passed = tapes[len(x)]
                    passed.draw(draws)
                    logits = passed.forward(x)
                    dlogits = np.empty_like(logits)
                    loss.gradient(logits, wanted, dlogits)
                    passed.backward(dlogits)
                    net.vector -= np.asarray(0.1, dtype) * gradients
            found.append((net.vector.tobytes(), net.statistics.tobytes()))
            assert np.isfinite(net.vector).all()
        assert found[0] == found[1] == found[2]


def buffers(thing: object, seen: set[int]) -> Iterator[tuple[str, NDArray[Any]]]:
    """All arrays that something holds, however deep, with the names that they have there."""
    if id(thing) in seen or isinstance(thing, Network):
        return
    seen.add(id(thing))
    names = chain.from_iterable(getattr(kind, "__slots__", ()) for kind in type(thing).__mro__)
    held = {name: getattr(thing, name, None) for name in names} | getattr(thing, "__dict__", {})
    if isinstance(thing, dict):
        held = {str(name): value for name, value in thing.items()}
    elif isinstance(thing, list | tuple):
        held = {str(index): value for index, value in enumerate(thing)}
    for name, value in held.items():
        if isinstance(value, np.ndarray):
            yield f"{type(thing).__name__}.{name}", value
        else:
            yield from buffers(value, seen)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_buffer_has_the_dtype_of_the_network(dtype: DTypeName, rng: np.random.Generator) -> None:
    net = network(LARGER, *EVERYTHING, loss="cross_entropy", dtype=dtype)
    gradients = np.empty_like(net.vector)
    passed = Tape(net, PICTURES + 3, gradients)
    passed.draw(rng)
    logits = passed.forward(rng.standard_normal((PICTURES + 3, *LARGER)).astype(dtype))
    passed.backward(np.ones_like(logits))
    found = list(buffers(passed, set()))
    # A draw is of 24 bits, sums over a batch are of 53, and what was the largest of a field is told by a truth value.
    expected = {"DropoutSpace.keep": "float32", "BatchNormSpace.sums": "float64", "PoolSpace.hit": "bool"}
    assert len(found) > 100
    assert expected.keys() <= {name for name, _ in found}
    for name, values in found:
        assert values.dtype == expected.get(name, dtype), name
    assert logits.dtype == gradients.dtype == net.vector.dtype == net.statistics.dtype == dtype
