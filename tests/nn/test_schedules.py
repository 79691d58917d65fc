from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest

from nn import schedules
from nn.optimizers import State
from nn.schedules import SCHEDULES
from nn.spec import (
    ConstantSpec,
    CosineSpec,
    ExponentialSpec,
    OneCycleSpec,
    PlateauSpec,
    ScheduleSpec,
    StepSpec,
)

SPECS: dict[str, ScheduleSpec] = {
    "constant": ConstantSpec(),
    "step": StepSpec(every=2, factor=0.5),
    "exponential": ExponentialSpec(factor=0.25),
    "cosine": CosineSpec(final=0.1),
    "cosine, warm-up": CosineSpec(warm_up=0.3),
    "cosine, almost all warm-up": CosineSpec(warm_up=0.999, final=0.1),
    "one cycle": OneCycleSpec(),
    "one cycle, almost all rise": OneCycleSpec(rise=0.999),
    "one cycle, almost all fall": OneCycleSpec(rise=0.001),
    "plateau": PlateauSpec(patience=1, factor=0.5),
}
each_spec = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def multipliers(spec: ScheduleSpec, steps_per_epoch: int, epochs: int) -> list[float]:
    """Of every step of a run whose loss never falls."""
    schedule = schedules.build(spec, steps_per_epoch, epochs)
    state = schedule.init()
    found = []
    for epoch in range(epochs):
        first = epoch * steps_per_epoch
        found += [schedule.multiplier(step, state) for step in range(first, first + steps_per_epoch)]
        schedule.epoch_ended(1.0, state)
    return found


def after_epochs(spec: PlateauSpec, losses: list[float], state: State) -> list[float]:
    """What the multiplier is after each epoch with these losses."""
    schedule = schedules.build(spec, steps_per_epoch=1, epochs=100)
    found = []
    for loss in losses:
        schedule.epoch_ended(loss, state)
        found.append(schedule.multiplier(0, state))
    return found


def test_every_spec_has_its_schedule() -> None:
    assert set(SCHEDULES) == set(get_args(ScheduleSpec)) == {type(spec) for spec in SPECS.values()}


@each_spec
@pytest.mark.parametrize("steps_per_epoch", [1, 2, 3, 7, 40])
@pytest.mark.parametrize("epochs", [1, 2, 5])
def test_is_a_number_from_0_to_1_whatever_the_length(spec: ScheduleSpec, steps_per_epoch: int, epochs: int) -> None:
    found = multipliers(spec, steps_per_epoch, epochs)
    assert all(type(value) is float and 0 <= value <= 1 for value in found)
    assert found[0] > 0


@pytest.mark.parametrize(
    "spec", [spec for spec in SPECS.values() if isinstance(spec, CosineSpec | OneCycleSpec)], ids=lambda spec: spec.type
)
@pytest.mark.parametrize("n_steps", [2, 3, 4, 10, 101])
def test_peaks_once_and_the_last_step_reaches_the_final_value(spec: CosineSpec | OneCycleSpec, n_steps: int) -> None:
    found = multipliers(spec, n_steps, epochs=1)
    assert found[-1] == spec.final
    assert found.count(1.0) == 1
    peak = found.index(1.0)
    assert (np.diff(found[: peak + 1]) > 0).all()
    assert (np.diff(found[peak:]) < 0).all()


@pytest.mark.parametrize("rise", [0.001, 0.3, 0.999])
@pytest.mark.parametrize("n_steps", [3, 4, 10])
def test_one_cycle_begins_with_its_initial_value(rise: float, n_steps: int) -> None:
    assert multipliers(OneCycleSpec(rise=rise, initial=0.2), n_steps, epochs=1)[0] == 0.2


@pytest.mark.parametrize("spec", [CosineSpec(), CosineSpec(warm_up=0.5), OneCycleSpec()])
def test_an_only_step_has_the_whole_rate(spec: ScheduleSpec) -> None:
    assert multipliers(spec, steps_per_epoch=1, epochs=1) == [1.0]


def test_constant() -> None:
    assert multipliers(ConstantSpec(), steps_per_epoch=2, epochs=2) == [1.0] * 4


def test_step_by_hand() -> None:
    found = multipliers(StepSpec(every=2, factor=0.5), steps_per_epoch=2, epochs=5)
    assert found == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_exponential_by_hand() -> None:
    found = multipliers(ExponentialSpec(factor=0.25), steps_per_epoch=2, epochs=2)
    assert found == pytest.approx([1, 0.5, 0.25, 0.125])


def test_cosine_by_hand() -> None:
    # From 1 down to 0.2 in 4 steps: cos of 0, 45, 90, 135 and 180 degrees.
    found = multipliers(CosineSpec(final=0.2), steps_per_epoch=5, epochs=1)
    assert found == pytest.approx([1, 0.6 + 0.4 * math.sqrt(0.5), 0.6, 0.6 - 0.4 * math.sqrt(0.5), 0.2])


def test_cosine_with_warm_up_by_hand() -> None:
    # 4 of 8 steps warm up, the other 4 go down from the peak.
    found = multipliers(CosineSpec(warm_up=0.5), steps_per_epoch=4, epochs=2)
    down = [0.5 + 0.5 * math.sqrt(0.5), 0.5, 0.5 - 0.5 * math.sqrt(0.5), 0]
    assert found == pytest.approx([0.25, 0.5, 0.75, 1, *down])


def test_one_cycle_by_hand() -> None:
    # Up in the first 3 of 7 steps, down in the other 4.
    found = multipliers(OneCycleSpec(rise=0.43, initial=0.2, final=0.1), steps_per_epoch=7, epochs=1)
    down = [0.55 + 0.45 * math.sqrt(0.5), 0.55, 0.55 - 0.45 * math.sqrt(0.5), 0.1]
    assert found == pytest.approx([0.2, 0.6, 1, *down])


def test_plateau_by_hand() -> None:
    spec = PlateauSpec(patience=2, factor=0.5, min_delta=0.1)
    state = schedules.build(spec, 1, 100).init()
    # 0.95 and 0.91 are not 0.1 below 1; 0.8 is; after it, two times two epochs bring nothing.
    losses = [1.0, 0.95, 0.8, 0.9, 0.75, 0.8, 0.8, 0.8, 0.5]
    assert after_epochs(spec, losses, state) == [1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_plateau_takes_a_loss_that_is_not_a_number_for_one_that_has_not_fallen() -> None:
    spec = PlateauSpec(patience=2, factor=0.5)
    assert after_epochs(spec, [1.0, math.nan, math.nan], schedules.build(spec, 1, 100).init()) == [1, 1, 0.5]


def test_the_state_of_a_plateau_is_arrays_and_all_that_a_run_needs_to_go_on() -> None:
    spec = PlateauSpec(patience=2, factor=0.3, min_delta=0.01)
    losses = [1.0, 0.9, 0.95, 0.9, 0.895, 0.5, 0.6, 0.6, 0.6, 0.6]
    undisturbed = after_epochs(spec, losses, schedules.build(spec, 1, 100).init())
    for n_done in range(len(losses)):
        state = schedules.build(spec, 1, 100).init()
        before = after_epochs(spec, losses[:n_done], state)
        assert all(type(values) is np.ndarray for values in state.values())
        after = after_epochs(spec, losses[n_done:], {name: values.copy() for name, values in state.items()})
        assert before + after == undisturbed


@pytest.mark.parametrize("name", sorted(SPECS.keys() - {"plateau"}))
def test_the_others_have_no_memory(name: str) -> None:
    schedule = schedules.build(SPECS[name], steps_per_epoch=3, epochs=2)
    state = schedule.init()
    schedule.epoch_ended(1.0, state)
    assert state == {}
