from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

import pytest

from service.dispatch import local
from service.dispatch.local import LocalDispatcher
from service.errors import ConfigurationError, Unavailable

DEADLINE = 10.0


class Rows:
    """Ids of jobs in a row, as the database would give them."""

    def __init__(self) -> None:
        self.queued: list[str] = []
        self.recovered: list[bool] = []
        self.nudged: list[str] = []
        self.gone = False

    def next_job(self, excluding: Collection[str]) -> str | None:
        if self.gone:
            raise Unavailable("the database does not answer")
        return next((job_id for job_id in self.queued if job_id not in excluding), None)


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def make(rows: Rows, tmp_path: Path) -> Iterator[Callable[..., LocalDispatcher]]:
    made: list[LocalDispatcher] = []

    def dispatcher(slots: int = 1) -> LocalDispatcher:
        made.append(
            LocalDispatcher(
                tmp_path / "x.lock",
                slots,
                next_job=rows.next_job,
                nudge=rows.nudged.append,
                recover=rows.recovered.append,
            )
        )
        return made[-1]

    yield dispatcher
    for one in made:
        one.close(DEADLINE)


class Runs:
    """Claims each job it is given, as a run does; a job goes on until it is let go."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.started: queue.Queue[str] = queue.Queue()
        self.go = threading.Event()

    def __call__(self, job_id: str) -> None:
        self.rows.queued.remove(job_id)
        self.started.put(job_id)
        assert self.go.wait(DEADLINE)


@pytest.fixture
def runs(rows: Rows, make: object) -> Iterator[Runs]:
    """Made after the dispatchers, so that its jobs are let go before those are closed."""
    runs = Runs(rows)
    yield runs
    runs.go.set()


def test_jobs_run_in_their_order_one_to_a_slot(rows: Rows, runs: Runs, make: Callable[..., LocalDispatcher]) -> None:
    rows.queued = ["a", "b", "c"]
    make(slots=2).start(runs)
    assert {runs.started.get(timeout=DEADLINE), runs.started.get(timeout=DEADLINE)} == {"a", "b"}
    with pytest.raises(queue.Empty):
        runs.started.get(timeout=0.1)
    runs.go.set()
    assert runs.started.get(timeout=DEADLINE) == "c"


def test_who_is_woken_does_not_wait_for_the_next_look(
    rows: Rows, runs: Runs, make: Callable[..., LocalDispatcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "POLL_SECONDS", 3600)
    dispatcher = make()
    dispatcher.start(runs)
    rows.queued.append("a")
    deadline = time.monotonic() + DEADLINE
    while runs.started.empty():  # more than once: a slot that is about to pause does not hear the first call
        assert time.monotonic() < deadline
        dispatcher.wake("a")
    assert set(rows.nudged) == {"a"}


def test_without_a_call_it_looks_by_itself(
    rows: Rows, runs: Runs, make: Callable[..., LocalDispatcher], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "POLL_SECONDS", 0.05)
    make().start(runs)
    rows.queued.append("a")
    assert runs.started.get(timeout=DEADLINE) == "a"


def test_a_run_that_breaks_and_a_database_that_is_gone_do_not_end_a_slot(
    rows: Rows, make: Callable[..., LocalDispatcher], caplog: pytest.LogCaptureFixture
) -> None:
    told: queue.Queue[str] = queue.Queue()

    def run(job_id: str) -> None:
        rows.queued.remove(job_id)
        told.put(job_id)
        if job_id == "breaks":
            rows.gone = True
            raise RuntimeError("broken")

    rows.queued = ["breaks", "next"]
    dispatcher = make()
    dispatcher.start(run)
    assert told.get(timeout=DEADLINE) == "breaks"
    rows.gone = False
    dispatcher.wake("next")
    assert told.get(timeout=DEADLINE) == "next"
    assert "slot broke" in caplog.text


def test_what_was_running_is_taken_back_at_the_start_and_what_lost_its_lease_later(
    rows: Rows, runs: Runs, make: Callable[..., LocalDispatcher]
) -> None:
    dispatcher = make()
    dispatcher.start(runs)
    assert rows.recovered[0] is False
    dispatcher.close(DEADLINE)
    assert set(rows.recovered[1:]) <= {True}


def test_one_process_runs_the_jobs_of_a_database(rows: Rows, runs: Runs, make: Callable[..., LocalDispatcher]) -> None:
    first, second = make(), make()
    first.start(runs)
    with pytest.raises(ConfigurationError, match="another trainserve runs the jobs"):
        second.start(runs)
    assert rows.recovered == [False], "the jobs that the first one runs are left alone"
    first.close(DEADLINE)
    make().start(runs)


def test_closed_it_takes_no_more(rows: Rows, runs: Runs, make: Callable[..., LocalDispatcher]) -> None:
    dispatcher = make(slots=2)
    dispatcher.start(runs)
    dispatcher.close(DEADLINE)
    rows.queued.append("late")
    dispatcher.wake("late")
    with pytest.raises(queue.Empty):
        runs.started.get(timeout=0.1)
