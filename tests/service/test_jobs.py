"""The use cases of jobs over real rows and a dispatcher that notes what it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nn import SpecError
from service.domain import Job, JobState
from service.errors import Conflict, InvalidInput, NotFound
from service.jobs import JobRequest, Jobs
from service.ports import Transaction
from service.store import SqlDatabase, SqlJobRows


class Dispatcher:
    """Tells nobody; breaks where it is told to."""

    def __init__(self) -> None:
        self.submitted: list[str] = []
        self.woken: list[str] = []
        self.broken = False

    def submit(self, tx: Transaction, job_id: str) -> None:
        if self.broken:
            raise RuntimeError("no ticket")
        assert SqlJobRows().get(tx, job_id) is not None, "the ticket is of the transaction that stores the job"
        self.submitted.append(job_id)

    def wake(self, job_id: str) -> None:
        self.woken.append(job_id)

    def start(self, run: Callable[[str], None]) -> None:
        raise NotImplementedError

    def close(self, grace: float) -> None:
        raise NotImplementedError


@pytest.fixture
def dispatcher() -> Dispatcher:
    return Dispatcher()


@pytest.fixture
def jobs(database: SqlDatabase, dispatcher: Dispatcher) -> Jobs:
    return Jobs(database, SqlJobRows(), dispatcher, max_training_memory=2**26)


def listed(jobs: Jobs) -> list[Job]:
    return jobs.page(limit=100)[0]


def run(database: SqlDatabase, job: Job, *, end: JobState | None = None) -> None:
    with database.write() as tx:
        claimed = SqlJobRows().claim(tx, job.id, lease=30)
        assert claimed is not None
        if end is not None:
            SqlJobRows().finish(tx, claimed, end)


class TestSubmit:
    def test_all_that_was_left_out_is_filled_in(self, jobs: Jobs, dispatcher: Dispatcher) -> None:
        job = jobs.submit(JobRequest(dataset="toy_regression", training={"epochs": 7}))
        assert (job.dataset, job.model, job.state) == ("toy-regression", "toy-regression", JobState.QUEUED)
        assert job.spec["training"]["epochs"] == job.progress["epochs"] == 7
        assert job.spec["training"]["optimizer"]["type"] == "sgd"
        assert dispatcher.submitted == dispatcher.woken == [job.id]
        assert jobs.get(job.id) == job

    @pytest.mark.parametrize(
        ("request_", "error"),
        [
            ({"dataset": "iris"}, SpecError),
            ({"dataset": "heart", "training": {"epochs": 0}}, SpecError),
            ({"dataset": "heart", "network": {"layers": []}}, SpecError),
            ({"dataset": "mnist", "network": {"layers": [{"type": "dense", "units": 100_000}]}}, SpecError),
            ({"dataset": "heart", "model": "../x"}, InvalidInput),
            ({"dataset": "heart", "model": ""}, InvalidInput),
        ],
    )
    def test_what_cannot_be_trained_leaves_nothing(
        self, request_: dict[str, Any], error: type[Exception], jobs: Jobs, dispatcher: Dispatcher
    ) -> None:
        with pytest.raises(error):
            jobs.submit(JobRequest(**request_), key="k")
        assert (listed(jobs), dispatcher.submitted, dispatcher.woken) == ([], [], [])

    def test_without_a_ticket_there_is_no_job(self, jobs: Jobs, dispatcher: Dispatcher) -> None:
        dispatcher.broken = True
        with pytest.raises(RuntimeError):
            jobs.submit(JobRequest(dataset="heart"), key="k")
        assert (listed(jobs), dispatcher.woken) == ([], [])
        dispatcher.broken = False
        assert jobs.submit(JobRequest(dataset="heart"), key="k").id == dispatcher.submitted[0]

    def test_the_same_key(self, jobs: Jobs, dispatcher: Dispatcher) -> None:
        request = JobRequest(dataset="heart", metadata={"a": 1, "b": 2})
        job = jobs.submit(request, key="k")
        assert jobs.submit(JobRequest(dataset="heart", metadata={"b": 2, "a": 1}), key="k") == job
        assert len(dispatcher.submitted) == 1
        with pytest.raises(Conflict, match=job.id):
            jobs.submit(JobRequest(dataset="heart"), key="k")
        assert jobs.submit(request, key="other").id != job.id
        assert jobs.submit(request).id != jobs.submit(request).id

    def test_the_key_of_a_job_that_has_ended_still_counts(self, jobs: Jobs, database: SqlDatabase) -> None:
        job = jobs.submit(JobRequest(dataset="heart"), key="k")
        run(database, job, end=JobState.SUCCEEDED)
        assert jobs.submit(JobRequest(dataset="heart"), key="k").state is JobState.SUCCEEDED
        jobs.delete(job.id)
        assert jobs.submit(JobRequest(dataset="heart"), key="k").id != job.id


class TestPage:
    def test_whether_there_are_more(self, jobs: Jobs) -> None:
        ids = [jobs.submit(JobRequest(dataset="heart")).id for _ in range(3)][::-1]
        for limit, after, expected, more in [
            (2, None, ids[:2], True),
            (3, None, ids, False),
            (2, ids[0], ids[1:], False),
            (1, ids[0], ids[1:2], True),
        ]:
            found, has_more = jobs.page(limit=limit, after=after)
            assert ([job.id for job in found], has_more) == (expected, more)

    def test_what_it_does_not_take(self, jobs: Jobs) -> None:
        with pytest.raises(InvalidInput, match="expected one of queued"):
            jobs.page(limit=1, status="asleep")
        with pytest.raises(NotFound):
            jobs.page(limit=1, after="x")


class TestCancelAndDelete:
    def test_whoever_runs_it_is_told_at_once(self, jobs: Jobs, dispatcher: Dispatcher, database: SqlDatabase) -> None:
        job = jobs.submit(JobRequest(dataset="heart"))
        run(database, job)
        assert jobs.cancel(job.id).status == "cancelling"
        assert jobs.cancel(job.id).status == "cancelling", "asking twice is asking once"
        assert dispatcher.woken == [job.id] * 3

    @pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
    def test_an_ended_job_can_be_deleted_and_not_cancelled(
        self, state: JobState, jobs: Jobs, database: SqlDatabase
    ) -> None:
        job = jobs.submit(JobRequest(dataset="heart"))
        run(database, job, end=state)
        with pytest.raises(Conflict, match=f"the job is {state.value}"):
            jobs.cancel(job.id)
        jobs.delete(job.id)
        with pytest.raises(NotFound):
            jobs.get(job.id)

    @pytest.mark.parametrize("running", [False, True])
    def test_a_job_that_has_not_ended_cannot_be_deleted(self, running: bool, jobs: Jobs, database: SqlDatabase) -> None:
        job = jobs.submit(JobRequest(dataset="heart"))
        if running:
            run(database, job)
        with pytest.raises(Conflict, match="cancel it first"):
            jobs.delete(job.id)

    def test_an_unknown_job(self, jobs: Jobs) -> None:
        for act in (
            jobs.get,
            jobs.cancel,
            jobs.delete,
            jobs.history,
            lambda job_id: jobs.events(job_id, after=0, limit=1),
        ):
            with pytest.raises(NotFound, match="there is no job 'x'"):
                act("x")
