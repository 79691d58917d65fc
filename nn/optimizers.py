"""Optimizers: an `init` and an `update` over explicit state, all parameters of a network in one flat vector."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from nn.activations import Array
from nn.spec import SGDSpec

State = dict[str, Array]


class Optimizer(Protocol):
    """Moves parameters against their gradient.

    The state is a dictionary of arrays and nothing else, so that it can be saved and a run taken up again.
    """

    def init(self, parameters: Array) -> State:
        """The state before the first step; `parameters` is `(n_parameters,)`."""
        ...

    def update(self, parameters: Array, gradients: Array, state: State) -> None:
        """One step: changes `parameters` and `state` in place, and may use `gradients` as working space."""
        ...


class SGD:
    """Stochastic gradient descent.

    Momentum keeps `v ← momentum · v + g` and steps by `learning_rate · v`; Nesterov's steps by
    `learning_rate · (g + momentum · v)` (I. Sutskever et al., On the importance of initialization and momentum in deep
    learning, 2013, in the form that needs the gradient at one point only). Nesterov's keeps `momentum · v`, the number
    that it adds, and needs no working space of its own.
    """

    def __init__(self, spec: SGDSpec) -> None:
        self.spec = spec

    def init(self, parameters: Array) -> State:
        return {"velocity": np.zeros_like(parameters)} if self.spec.momentum else {}

    def update(self, parameters: Array, gradients: Array, state: State) -> None:
        step = gradients
        if self.spec.momentum:
            velocity = state["velocity"]
            if self.spec.nesterov:
                velocity += gradients
                velocity *= self.spec.momentum
                step += velocity
            else:
                velocity *= self.spec.momentum
                velocity += gradients
                np.copyto(step, velocity)
        step *= self.spec.learning_rate
        parameters -= step


def build(spec: SGDSpec) -> Optimizer:
    """The optimizer that a spec describes."""
    return SGD(spec)
