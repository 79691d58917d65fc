from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from nn import Network, NetworkSpec, ShapeError
from nn.activations import ACTIVATIONS, Array
from nn.layers import Dense, Workspace
from nn.losses import LOSSES
from nn.network import build_layers
from nn.spec import ActivationName, DTypeName, LossName
from tests.nn.support import (
    DTYPES,
    assert_gradient,
    central_differences,
    layers,
    logits_and_targets,
    network,
)

Shorthand = tuple[int | str, ...]

# What stands before the last dense layer of the networks whose gradients are checked.
BODIES: dict[str, Shorthand] = {
    "dense alone": (),
    "dense after dense": (5, 4),
    "an activation first": ("tanh", 4, "relu"),
    "activations in a row": (4, "tanh", "softmax", "identity"),
    **{name: (5, name, 4, name) for name in get_args(ActivationName)},
}
each_body = pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)


@pytest.mark.parametrize("loss_name", LOSSES)
@each_body
@pytest.mark.parametrize("n_samples", [1, 6])
def test_gradients_of_whole_networks_agree_with_central_differences(
    body: Shorthand, loss_name: LossName, n_samples: int, rng: np.random.Generator
) -> None:
    loss = LOSSES[loss_name]
    logits, targets = logits_and_targets(loss_name, n_samples, rng)
    net = network(3, *body, logits.shape[1], loss=loss_name, seed=1)
    net.vector += 0.05  # biases that are not 0
    gradients = np.full_like(net.vector, np.nan)
    tape = net.tape(n_samples, gradients)
    tape.x[...] = rng.standard_normal(tape.x.shape)
    dlogits = np.empty_like(logits)
    loss.gradient(tape.forward(), targets, dlogits)
    tape.backward(dlogits)
    assert_gradient(gradients, central_differences(lambda: loss.value(net.logits(tape.x), targets), net.vector))


@pytest.mark.parametrize("body", [(), (4, "relu"), ("tanh", 4)], ids=str)
def test_nobody_computes_a_gradient_for_the_input(body: Shorthand, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Array | None] = []
    backward = Dense.backward

    def spied(layer: Dense, dy: Array, space: Workspace) -> Array | None:
        given.append(backward(layer, dy, space))
        return given[-1]

    monkeypatch.setattr(Dense, "backward", spied)
    net = network(3, *body, 2)
    tape = net.tape(5, np.empty_like(net.vector))
    tape.x[...] = 1
    tape.backward(np.ones_like(tape.forward()))
    *above, first = given
    assert first is None
    assert all(dx is not None for dx in above)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tape_reuses_its_buffers_and_agrees_with_logits(dtype: DTypeName, rng: np.random.Generator) -> None:
    net = network(3, 4, "relu", 2, dtype=dtype)
    tape = net.tape(5, np.empty_like(net.vector))
    buffer = tape.forward()
    for _ in range(2):
        tape.x[...] = rng.standard_normal((5, 3))
        assert tape.forward() is buffer
        assert buffer.dtype == dtype
        np.testing.assert_array_equal(buffer, net.logits(tape.x))


def test_parameters_have_names_and_are_views_into_one_vector() -> None:
    net = network(3, 4, "relu", 2)
    assert {name: values.shape for name, values in net.parameters.items()} == {
        "layers.0.weight": (3, 4),
        "layers.0.bias": (4,),
        "layers.2.weight": (4, 2),
        "layers.2.bias": (2,),
    }
    np.testing.assert_array_equal(net.vector, np.concatenate([values.ravel() for values in net.parameters.values()]))
    x = np.ones((1, 3))
    net.vector[...] = 0
    net.parameters["layers.2.bias"][...] = [1, 2]
    assert net.vector[-2:].tolist() == [1, 2]
    assert net.logits(x).tolist() == [[1, 2]]


@pytest.mark.parametrize("loss", LOSSES)
def test_predict_is_the_output_function_of_the_logits(loss: LossName, rng: np.random.Generator) -> None:
    net = network(3, 4, "tanh", 2, loss=loss)
    x = rng.standard_normal((5, 3))
    answers = np.empty((5, 2))
    ACTIVATIONS[LOSSES[loss].output].forward(net.logits(x), answers)
    np.testing.assert_array_equal(net.predict(x), answers)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_output_function_may_be_said_as_a_last_layer(loss: LossName) -> None:
    x = np.ones((2, 3))
    unsaid, said = network(3, 4, loss=loss), network(3, 4, LOSSES[loss].output, loss=loss)
    np.testing.assert_array_equal(said.logits(x), unsaid.logits(x))
    np.testing.assert_array_equal(said.predict(x), unsaid.predict(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_keeps_its_dtype_whatever_comes_in(dtype: DTypeName) -> None:
    net = network(3, 4, "sigmoid", 2, dtype=dtype)
    for given in ("float32", "float64", "int64", "uint8"):
        assert net.logits(np.ones((2, 3), given)).dtype == dtype
        assert net.predict(np.ones((2, 3), given)).dtype == dtype
    assert net.vector.dtype == dtype


def test_a_batch_of_one_and_of_none() -> None:
    net = network(3, 4, "relu", 2)
    x = np.arange(12.0).reshape(4, 3)
    np.testing.assert_allclose(net.predict(x[:1]), net.predict(x)[:1])
    assert net.predict(x[:0]).shape == (0, 2)


def test_what_is_not_finite_comes_out_as_it_is() -> None:
    net = network(2, 2)
    x = np.array([[np.nan, 1], [np.inf, 1], [1, 1]])
    assert np.isfinite(net.predict(x)).all(axis=1).tolist() == [False, False, True]


def test_predict_leaves_network_and_input_alone(rng: np.random.Generator) -> None:
    net = network(3, "relu", 4, "tanh", 2)
    x = rng.standard_normal((5, 3))
    x_before, vector_before = x.copy(), net.vector.copy()
    net.predict(x)
    np.testing.assert_array_equal(x, x_before)
    np.testing.assert_array_equal(net.vector, vector_before)


def test_the_seed_decides_the_initial_weights() -> None:
    one, same, other = (network(3, 4, 2, seed=seed).vector for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_load_gives_another_network_the_same_answers(rng: np.random.Generator) -> None:
    x = rng.standard_normal((5, 3))
    trained = network(3, 4, "relu", 2, seed=1)
    loaded = Network(trained.spec, (3,), "identity")
    assert not loaded.vector.any()
    loaded.load(trained.parameters)
    np.testing.assert_array_equal(loaded.predict(x), trained.predict(x))
    trained.vector[...] = 0
    assert loaded.vector.any()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"layers.0.weight": np.ones((3, 2))}, "expected layers.0.weight, layers.0.bias; got layers.0.weight"),
        (
            {"layers.0.weight": np.ones((3, 2)), "layers.0.bias": np.ones((1, 2))},
            r"layers.0.bias: expected shape \(2,\); got \(1, 2\)",
        ),
    ],
)
def test_load_refuses_what_is_not_its_own(parameters: dict[str, Array], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        network(3, 2).load(parameters)


@pytest.mark.parametrize("shape", [(2, 4), (3,), (2, 3, 1)])
def test_samples_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"expected samples of shape \(3,\)"):
        network(3, 2).logits(np.ones(shape))


def test_describing_a_huge_network_allocates_nothing() -> None:
    spec = NetworkSpec(layers=layers(10**6, 10**6))
    assert [layer.output_shape for layer in build_layers(spec, (10**6,), "identity")] == [(10**6,), (10**6,)]
