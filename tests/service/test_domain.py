from __future__ import annotations

from typing import Any

import pytest

from service.domain import STATUSES, TRANSITIONS, Job, JobState, ModelReference, check_alias, check_name, sources
from service.errors import InvalidInput, NotFound

NAMES = ["a", "0", "mnist", "toy-regression", "a_b", "7up", "x" * 64]
NO_NAMES = [
    "", "A", "-a", "_a", "a b", "a/b", "..", ".", "../x", "a.b", "a@b", "x" * 65, "é", "a\n", "a\0", "²", "%2e", " a",
]  # fmt: skip


def job(**fields: Any) -> Job:
    usual: dict[str, Any] = {
        "id": "x", "state": JobState.RUNNING, "dataset": "heart", "model": "heart", "spec": {}, "metadata": {},
        "created_at": 0.0, "started_at": None, "finished_at": None, "updated_at": 1000.0, "attempt": 1, "token": 1,
        "cancel_requested": False, "progress": {}, "error": None, "result": None,
    }  # fmt: skip
    return Job(**usual | fields)


def test_every_state_has_its_transitions_and_the_final_ones_none() -> None:
    assert set(TRANSITIONS) == set(JobState)
    assert {state for state in JobState if state.is_final} == {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
    for state in JobState:
        assert sources(state) == tuple(origin for origin in JobState if state in TRANSITIONS[origin])
        assert state not in TRANSITIONS[state]


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("cancel_requested", [False, True])
def test_the_status_is_the_state_or_cancelling(state: JobState, cancel_requested: bool) -> None:
    status = job(state=state, cancel_requested=cancel_requested).status
    assert status == ("cancelling" if state is JobState.RUNNING and cancel_requested else state.value)
    assert status in STATUSES


@pytest.mark.parametrize(
    ("state", "progress", "expected"),
    [
        (JobState.RUNNING, {}, None),
        (JobState.RUNNING, {"percent": 0.0, "epochs": 10}, None),
        (JobState.RUNNING, {"percent": 25.0, "epochs": 10, "seconds_per_epoch": 4.0}, 1030.0),
        (JobState.RUNNING, {"percent": 100.0, "epochs": 10, "seconds_per_epoch": 4.0}, 1000.0),
        (JobState.QUEUED, {"percent": 25.0, "epochs": 10, "seconds_per_epoch": 4.0}, None),
        (JobState.SUCCEEDED, {"percent": 100.0, "epochs": 10, "seconds_per_epoch": 4.0}, None),
    ],
)
def test_the_end_is_estimated_from_the_epochs_that_are_left(
    state: JobState, progress: dict[str, float], expected: float | None
) -> None:
    assert job(state=state, progress=progress).estimated_finish == expected


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    check_name(name)
    assert ModelReference.parse(name) == ModelReference(name, version=None, alias="latest")


@pytest.mark.parametrize("name", NO_NAMES)
def test_what_is_no_name(name: str) -> None:
    for check in (check_name, check_alias):
        with pytest.raises(InvalidInput, match="cannot name"):
            check(name)


@pytest.mark.parametrize("alias", ["7", "007"])
def test_a_number_is_no_alias_though_it_is_a_name(alias: str) -> None:
    check_name(alias)
    with pytest.raises(InvalidInput, match="not a number alone"):
        check_alias(alias)


@pytest.mark.parametrize(
    ("text", "expected", "shown"),
    [
        ("mnist", ModelReference("mnist"), "mnist@latest"),
        ("mnist@latest", ModelReference("mnist"), "mnist@latest"),
        ("mnist@champion", ModelReference("mnist", alias="champion"), "mnist@champion"),
        ("mnist@3", ModelReference("mnist", version=3), "mnist@3"),
        ("mnist@003", ModelReference("mnist", version=3), "mnist@3"),
        ("mnist@v3", ModelReference("mnist", alias="v3"), "mnist@v3"),
    ],
)
def test_references(text: str, expected: ModelReference, shown: str) -> None:
    assert ModelReference.parse(text) == expected
    assert str(expected) == shown


def test_a_number_that_no_version_has() -> None:
    with pytest.raises(NotFound, match="mnist@999"):
        ModelReference.parse("mnist@" + "9" * 5000)


@pytest.mark.parametrize(
    "text", ["@", "@3", "mnist@", "mnist@@3", "mnist@1@2", "mnist@-1", "mnist@1.5", "mnist@²", "../x@1"]
)
def test_what_is_no_reference(text: str) -> None:
    with pytest.raises(InvalidInput):
        ModelReference.parse(text)


def test_what_is_said_of_a_long_name_is_short() -> None:
    with pytest.raises(InvalidInput) as caught:
        check_name("x" * 100_000)
    assert len(str(caught.value)) < 300
