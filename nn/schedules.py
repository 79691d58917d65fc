"""Schedules: how the learning rate moves in the course of a run, as a multiple of the optimizer's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from nn.optimizers import State
from nn.spec import (
    ConstantSpec,
    CosineSpec,
    ExponentialSpec,
    OneCycleSpec,
    PlateauSpec,
    ScheduleSpec,
    StepSpec,
)


class Schedule(Protocol):
    """Gives the learning rate of each step.

    The state is a dictionary of arrays and nothing else, as an optimizer's, so that a run can be taken up again.
    """

    def init(self) -> State:
        """The state before the first step; empty where the number of the step tells all."""
        ...

    def multiplier(self, step: int, state: State) -> float:
        """What the optimizer's learning rate is multiplied by for `step`, which counts from 0 over the whole run."""
        ...

    def epoch_ended(self, loss: float, state: State) -> None:
        """Takes in the validation loss of the epoch that ended, or its training loss where nothing is validated."""
        ...


class Memoryless:
    """What the schedules share that go by the number of the step alone."""

    def init(self) -> State:
        return {}

    def epoch_ended(self, loss: float, state: State) -> None:
        pass


class Constant(Memoryless):
    """1 throughout."""

    def __init__(self, spec: ConstantSpec, steps_per_epoch: int, epochs: int) -> None:
        pass

    def multiplier(self, step: int, state: State) -> float:
        return 1.0


class Step(Memoryless):
    """Multiplied by `factor` at the end of each `every` epochs."""

    def __init__(self, spec: StepSpec, steps_per_epoch: int, epochs: int) -> None:
        self.factor = spec.factor
        self.every = spec.every * steps_per_epoch

    def multiplier(self, step: int, state: State) -> float:
        return self.factor ** (step // self.every)


class Exponential(Memoryless):
    """`factor` to the power of the epochs done, the one under way by the share of it that is done."""

    def __init__(self, spec: ExponentialSpec, steps_per_epoch: int, epochs: int) -> None:
        self.factor = spec.factor
        self.steps_per_epoch = steps_per_epoch

    def multiplier(self, step: int, state: State) -> float:
        return math.pow(self.factor, step / self.steps_per_epoch)


def half_cosine(start: float, end: float, progress: float) -> float:
    """From `start` at progress 0 to `end` at progress 1 along half a cosine, flat at both ends; exact at both."""
    weight = (1 + math.cos(math.pi * progress)) / 2
    return start * weight + end * (1 - weight)


class Cosine(Memoryless):
    """Linear warm-up, then half a cosine from 1 down to `final`, which the last step has.

    Of `n` steps of warm-up, step `i` has `(i + 1) / n`, so that the first is not lost. Where there is but one step, it
    has 1. I. Loshchilov and F. Hutter, SGDR: stochastic gradient descent with warm restarts, 2017, without restarts;
    the warm-up is P. Goyal et al., Accurate, large minibatch SGD, 2017.
    """

    def __init__(self, spec: CosineSpec, steps_per_epoch: int, epochs: int) -> None:
        n_steps = steps_per_epoch * epochs
        self.final = spec.final
        self.last = n_steps - 1
        self.n_warm = min(round(spec.warm_up * n_steps), self.last)
        self.peak = max(self.n_warm - 1, 0)

    def multiplier(self, step: int, state: State) -> float:
        if step <= self.peak:
            return (step + 1) / self.n_warm if self.n_warm else 1.0
        return half_cosine(1.0, self.final, (step - self.peak) / (self.last - self.peak))


class OneCycle(Memoryless):
    """Half a cosine from `initial` up to 1 in the first `rise` of the steps, then half a cosine down to `final`.

    The first step has `initial`, the last has `final`, and one between them has 1; of two steps the first has 1, and so
    has the only one. L. N. Smith, A disciplined approach to neural network hyper-parameters, 2018.
    """

    def __init__(self, spec: OneCycleSpec, steps_per_epoch: int, epochs: int) -> None:
        n_steps = steps_per_epoch * epochs
        self.initial, self.final = spec.initial, spec.final
        self.last = n_steps - 1
        self.peak = max(min(max(round(spec.rise * n_steps) - 1, 1), self.last - 1), 0)

    def multiplier(self, step: int, state: State) -> float:
        if step < self.peak:
            return half_cosine(self.initial, 1.0, step / self.peak)
        if step == self.peak:
            return 1.0
        return half_cosine(1.0, self.final, (step - self.peak) / (self.last - self.peak))


class ReduceOnPlateau:
    """Multiplied by `factor` once `patience` epochs have gone by since the loss last fell, and again after as many.

    The loss has fallen where it is below the lowest one so far by more than `min_delta`. The state is `lowest`, the
    `waited` epochs and the `multiplier`, each `()`.
    """

    def __init__(self, spec: PlateauSpec, steps_per_epoch: int, epochs: int) -> None:
        self.spec = spec

    def init(self) -> State:
        return {"lowest": np.array(math.inf), "waited": np.array(0, np.int64), "multiplier": np.array(1.0)}

    def multiplier(self, step: int, state: State) -> float:
        return float(state["multiplier"])

    def epoch_ended(self, loss: float, state: State) -> None:
        if loss < state["lowest"] - self.spec.min_delta:
            state["lowest"][...] = loss
            state["waited"][...] = 0
            return
        state["waited"] += 1
        if state["waited"] >= self.spec.patience:
            state["multiplier"] *= self.spec.factor
            state["waited"][...] = 0


# Any: each takes the spec that it stands beside.
SCHEDULES: dict[type[ScheduleSpec], Callable[[Any, int, int], Schedule]] = {
    ConstantSpec: Constant,
    StepSpec: Step,
    ExponentialSpec: Exponential,
    CosineSpec: Cosine,
    OneCycleSpec: OneCycle,
    PlateauSpec: ReduceOnPlateau,
}


def build(spec: ScheduleSpec, steps_per_epoch: int, epochs: int) -> Schedule:
    """The schedule that a spec describes, for a run of `epochs` epochs of `steps_per_epoch` steps, each at least 1."""
    return SCHEDULES[type(spec)](spec, steps_per_epoch, epochs)
