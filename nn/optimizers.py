"""Optimizers: an `init` and an `update` over explicit state, all parameters of a network in one flat vector."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from nn import memory
from nn.activations import Array
from nn.spec import AdamSpec, AdamWSpec, OptimizerSpec, RMSPropSpec, SGDSpec

# The vectors are of the parameters' dtype, a count of steps is an int64.
State = dict[str, NDArray[Any]]

# So many numbers go through all the operations of a step before the next ones do, few enough that what one operation
# writes is in the cache for the next. By measurement: where the vectors are larger than the cache, Adam's step takes
# half the time that it takes without blocks, alike at 32,768 to 262,144; where they are not, longer blocks are better.
BLOCK = 131_072

# An epsilon that float32 rounds to 0 would divide 0 by 0 where a gradient never was.
SMALLEST_EPSILON = float(np.finfo(np.float32).tiny)


class Optimizer(Protocol):
    """Moves parameters against their gradient.

    The state is a dictionary of arrays and nothing else, so that it can be saved and a run taken up again. An optimizer
    may hold working space: it serves one run at a time. Of a `linear` one a step is the learning rate times the
    gradient: whoever multiplies the rate into the gradient of the loss, which is a few numbers, gives 1 for it here.
    """

    @property
    def linear(self) -> bool: ...

    def init(self, parameters: Array) -> State:
        """The state before the first step; `parameters` is `(n_parameters,)`."""
        ...

    def update(self, parameters: Array, gradients: Array, state: State, learning_rate: float) -> None:
        """One step: changes `parameters` and `state` in place, and may use `gradients` as working space.

        Both are `(n_parameters,)` and of one dtype, float32 or float64, in which all is computed.
        """
        ...


class Blockwise(ABC):
    """What the optimizers share: the walk through the vectors in blocks, and the decay of the weights.

    An optimizer names the `vectors` of its state, gives the `scalars` of a step, and moves one block in `step`.
    The decay is an L2 penalty: `weight_decay · w` is added to the gradients of the first `n_weights` parameters.
    """

    vectors: ClassVar[tuple[str, ...]] = ()

    def __init__(self, weight_decay: float, n_weights: int) -> None:
        self.weight_decay = weight_decay
        self.n_weights = n_weights
        self._scratch: Array = np.empty(0)

    @property
    def linear(self) -> bool:
        return False

    def init(self, parameters: Array) -> State:
        return {name: memory.zeros(parameters.shape, parameters.dtype) for name in self.vectors}

    def update(self, parameters: Array, gradients: Array, state: State, learning_rate: float) -> None:
        # A 0-d array of the same dtype is what a ufunc takes up fastest: 0.3 µs sooner than a float, at each call.
        scalars = [np.array(value, parameters.dtype) for value in self.scalars(state, learning_rate)]
        vectors = [parameters, gradients, *[state[name] for name in self.vectors]]
        n_decayed = self.n_weights if self.weight_decay else 0
        for start in range(0, parameters.size, BLOCK):
            block = vectors if parameters.size <= BLOCK else [vector[start : start + BLOCK] for vector in vectors]
            if start < n_decayed:
                n_here = n_decayed - start
                self.decay(block[0][:n_here], block[1][:n_here], learning_rate)
            self.step(*block, *scalars)

    def decay(self, weights: Array, gradients: Array, learning_rate: float) -> None:
        """Decays the weights of one block before its step; `gradients`, of the same shape, are theirs."""
        penalty = self.scratch(weights)
        np.multiply(weights, self.weight_decay, penalty)
        np.add(gradients, penalty, gradients)

    def scalars(self, state: State, learning_rate: float) -> tuple[float, ...]:
        """The scalars of the step that begins, in the order in which `step` takes them; counts the step."""
        return (learning_rate,)

    @abstractmethod
    def step(self, *operands: Array) -> None:
        """One step of one block, given its parameters, gradients and vectors, `(n,)`, and the scalars, `()`."""

    def scratch(self, like: Array) -> Array:
        """Working space of the shape and dtype of `like`, at most a block; the next call gives the same."""
        if self._scratch.size < like.size or self._scratch.dtype != like.dtype:
            self._scratch = np.empty_like(like)
        return self._scratch[: like.size]


def shrink(weights: Array, share: float) -> None:
    """Takes a `share` of each weight, `w ← w - share · w`, in place."""
    np.multiply(weights, 1 - share, weights)


class SGD(Blockwise):
    """Stochastic gradient descent: `p ← p - learning_rate · g` (H. Robbins and S. Monro, 1951)."""

    @property
    def linear(self) -> bool:
        return not self.weight_decay

    def scalars(self, state: State, learning_rate: float) -> tuple[float, ...]:
        return () if learning_rate == 1 else (learning_rate,)

    def step(self, *operands: Array) -> None:
        p, g, *rates = operands
        for rate in rates:
            np.multiply(g, rate, g)
        np.subtract(p, g, p)

    def decay(self, weights: Array, gradients: Array, learning_rate: float) -> None:
        # Without a memory of gradients, the penalty is the same thing as a share of the weights.
        shrink(weights, learning_rate * self.weight_decay)


class Momentum(Blockwise):
    """Stochastic gradient descent with momentum: keeps `v ← momentum · v + g` and steps by `learning_rate · v`.

    B. Polyak, Some methods of speeding up the convergence of iteration methods, 1964.
    """

    vectors = ("velocity",)

    def __init__(self, momentum: float, weight_decay: float, n_weights: int) -> None:
        super().__init__(weight_decay, n_weights)
        self.momentum = momentum

    def scalars(self, state: State, learning_rate: float) -> tuple[float, ...]:
        return learning_rate, self.momentum

    def step(self, *operands: Array) -> None:
        p, g, velocity, rate, momentum = operands
        np.multiply(velocity, momentum, velocity)
        np.add(velocity, g, velocity)
        np.multiply(velocity, rate, g)
        np.subtract(p, g, p)


class Nesterov(Momentum):
    """Nesterov's momentum: with `v` as above, steps by `learning_rate · (g + momentum · v)`.

    I. Sutskever et al., On the importance of initialization and momentum in deep learning, 2013, in the form that needs
    the gradient at one point only. `velocity` is `momentum · v`, the number that is added.
    """

    def step(self, *operands: Array) -> None:
        p, g, velocity, rate, momentum = operands
        np.add(velocity, g, velocity)
        np.multiply(velocity, momentum, velocity)
        np.add(g, velocity, g)
        np.multiply(g, rate, g)
        np.subtract(p, g, p)


class RMSProp(Blockwise):
    """Steps by `learning_rate · g / (sqrt(v) + epsilon)`, where `v ← rho · v + (1 - rho) · g²`.

    T. Tieleman and G. Hinton, Lecture 6.5 of Neural Networks for Machine Learning, 2012. `squares` is `v / (1 - rho)`,
    the decaying sum itself: `1 - rho` goes into the scalars, which saves a pass over the vector.
    """

    vectors = ("squares",)

    def __init__(self, spec: RMSPropSpec, n_weights: int) -> None:
        super().__init__(spec.weight_decay, n_weights)
        self.spec = spec

    def scalars(self, state: State, learning_rate: float) -> tuple[float, ...]:
        # sqrt(v) + epsilon = root · (sqrt(squares) + epsilon / root)
        root = math.sqrt(1 - self.spec.rho)
        return learning_rate / root, self.spec.rho, max(self.spec.epsilon / root, SMALLEST_EPSILON)

    def step(self, *operands: Array) -> None:
        p, g, squares, rate, rho, epsilon = operands
        divisor = self.scratch(g)
        np.multiply(g, g, divisor)
        np.multiply(squares, rho, squares)
        np.add(squares, divisor, squares)
        np.sqrt(squares, divisor)
        np.add(divisor, epsilon, divisor)
        np.divide(g, divisor, g)
        np.multiply(g, rate, g)
        np.subtract(p, g, p)


class Adam(Blockwise):
    """Steps by `learning_rate · m̂ / (sqrt(v̂) + epsilon)`, by running means `m` of `g` and `v` of `g²`.

    `m ← beta1 · m + (1 - beta1) · g` and `m̂ = m / (1 - beta1ᵗ)` at step `t`, which counts from 1; `v` alike, of `g²` by
    beta2. D. P. Kingma and J. Ba, Adam: a method for stochastic optimization, 2015.

    `sums` is `m / (1 - beta1)` and `squares` is `v / (1 - beta2)`, the decaying sums themselves; `steps` is `t`. All
    that is the same for every parameter goes into the scalars, which saves four passes over the vector.
    """

    vectors = ("sums", "squares")

    def __init__(self, spec: AdamSpec | AdamWSpec, n_weights: int) -> None:
        super().__init__(spec.weight_decay, n_weights)
        self.spec = spec

    def init(self, parameters: Array) -> State:
        return {"steps": np.zeros((), np.int64), **super().init(parameters)}

    def scalars(self, state: State, learning_rate: float) -> tuple[float, ...]:
        steps, beta1, beta2 = int(state["steps"]) + 1, self.spec.beta1, self.spec.beta2
        state["steps"][...] = steps
        # m̂ = mean · sums; sqrt(v̂) + epsilon = root · (sqrt(squares) + epsilon / root)
        mean = (1 - beta1) / (1 - beta1**steps)
        root = math.sqrt((1 - beta2) / (1 - beta2**steps))
        return learning_rate * mean / root, beta1, beta2, max(self.spec.epsilon / root, SMALLEST_EPSILON)

    def step(self, *operands: Array) -> None:
        p, g, sums, squares, rate, beta1, beta2, epsilon = operands
        np.multiply(sums, beta1, sums)
        np.add(sums, g, sums)
        np.multiply(g, g, g)
        np.multiply(squares, beta2, squares)
        np.add(squares, g, squares)
        np.sqrt(squares, g)
        np.add(g, epsilon, g)
        np.divide(sums, g, g)
        np.multiply(g, rate, g)
        np.subtract(p, g, p)


class AdamW(Adam):
    """Adam that decays the weights by themselves, `w ← w - learning_rate · weight_decay · w`, beside its step.

    I. Loshchilov and F. Hutter, Decoupled weight decay regularization, 2019.
    """

    def decay(self, weights: Array, gradients: Array, learning_rate: float) -> None:
        shrink(weights, learning_rate * self.weight_decay)


def _sgd(spec: SGDSpec, n_weights: int) -> Optimizer:
    if not spec.momentum:
        return SGD(spec.weight_decay, n_weights)
    return (Nesterov if spec.nesterov else Momentum)(spec.momentum, spec.weight_decay, n_weights)


# Any: each takes the spec that it stands beside.
OPTIMIZERS: dict[type[OptimizerSpec], Callable[[Any, int], Optimizer]] = {
    SGDSpec: _sgd,
    RMSPropSpec: RMSProp,
    AdamSpec: Adam,
    AdamWSpec: AdamW,
}


def build(spec: OptimizerSpec, n_weights: int) -> Optimizer:
    """The optimizer that a spec describes; weight decay is for the first `n_weights` parameters.

    The spec's learning rate is not read: each update is given its own.
    """
    return OPTIMIZERS[type(spec)](spec, n_weights)


def clip_norm(gradients: Array, limit: float) -> float:
    """Scales `gradients`, `(n_parameters,)`, in place so that their Euclidean norm is at most `limit`.

    Returns the norm before. Where a gradient is not finite, neither is the norm, and nothing is changed.

    R. Pascanu, T. Mikolov and Y. Bengio, On the difficulty of training recurrent neural networks, 2013.
    """
    blocks = (gradients[start : start + BLOCK] for start in range(0, gradients.size, BLOCK))
    with np.errstate(over="ignore"):
        # A float32 sum over millions would be off by 1e-5.
        squares = sum(float(np.dot(block, block)) for block in blocks)
    # Within these bounds no square that matters was lost to the range of float32.
    if 1e-30 < squares < math.inf:
        norm = math.sqrt(squares)
        if norm > limit:
            gradients *= limit / norm
        return norm
    largest = max(float(gradients.max(initial=0)), -float(gradients.min(initial=0)))
    if largest == 0 or not math.isfinite(largest):
        return largest
    scaled = gradients / largest
    norm_of_scaled = math.sqrt(float(np.dot(scaled, scaled)))
    norm = largest * norm_of_scaled
    if norm > limit:
        np.multiply(scaled, limit / norm_of_scaled, gradients)
    return norm
