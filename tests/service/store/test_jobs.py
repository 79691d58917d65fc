"""The rows of jobs on a real SQLite file: transitions, leases, tokens, races."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from service.domain import TRANSITIONS, Job, JobState
from service.store import SqlDatabase, SqlJobRows

LEASE = 30.0
rows = SqlJobRows()


class Store:
    """Each operation in a transaction of its own."""

    def __init__(self, database: SqlDatabase) -> None:
        self.database = database

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            with self.database.write() as tx:
                return getattr(rows, operation)(tx, *arguments, **options)

        return run

    def new(self, **fields: Any) -> Job:
        usual: dict[str, Any] = {"dataset": "heart", "model": "heart", "spec": {}, "metadata": {}, "progress": {}}
        job: Job = self.add(**{"key": None, "digest": ""} | usual | fields)
        return job

    def running(self, lease: float = LEASE) -> Job:
        job: Job = self.claim(self.new().id, lease=lease)
        return job

    def state(self, job: Job) -> JobState:
        return JobState(self.get(job.id).state)

    def statuses(self, job: Job) -> list[str]:
        return [event.data["status"] for event in self.events(job.id, after=0, limit=100) if event.type == "status"]


@pytest.fixture
def store(database: SqlDatabase) -> Store:
    return Store(database)


def ended(state: JobState) -> Callable[[Store], Job]:
    def make(store: Store) -> Job:
        job = store.running()
        assert store.finish(job, state)
        return job

    return make


# How a job comes to each state.
MAKE: dict[JobState, Callable[[Store], Job]] = {
    JobState.QUEUED: Store.new,
    JobState.RUNNING: Store.running,
    **{state: ended(state) for state in JobState if state.is_final},
}
# What moves a job, and where to.
MOVES: dict[str, tuple[JobState, Callable[[Store, Job], Any]]] = {
    "claim": (JobState.RUNNING, lambda store, job: store.claim(job.id, lease=LEASE)),
    "cancel": (JobState.CANCELLED, lambda store, job: store.cancel(job.id)),
    "finish succeeded": (JobState.SUCCEEDED, lambda store, job: store.finish(job, JobState.SUCCEEDED)),
    "finish failed": (JobState.FAILED, lambda store, job: store.finish(job, JobState.FAILED)),
    "finish cancelled": (JobState.CANCELLED, lambda store, job: store.finish(job, JobState.CANCELLED)),
    "requeue": (JobState.QUEUED, lambda store, job: store.requeue(job, counts=True)),
}


@pytest.mark.parametrize("origin", JobState)
@pytest.mark.parametrize("move", MOVES)
def test_no_move_but_those_of_the_table_of_transitions(origin: JobState, move: str, store: Store) -> None:
    job = MAKE[origin](store)
    target, carry_out = MOVES[move]
    before = store.get(job.id)
    done = bool(carry_out(store, job))
    after = store.get(job.id)
    if move == "cancel" and origin is JobState.RUNNING:
        assert (done, after.state, after.status) == (True, JobState.RUNNING, "cancelling")
        assert store.statuses(job)[-1] == "cancelling"
    elif done:
        assert target in TRANSITIONS[origin]
        assert after.state is target
        assert store.statuses(job)[-1] == target.value
    else:
        assert after == before, "a refused move leaves no trace"
        # A run only ever ends its own job: a queued one has no run.
        assert target not in TRANSITIONS[origin] or origin is JobState.QUEUED


class TestAdd:
    def test_what_is_stored(self, store: Store) -> None:
        spec = {"a": [1, 2.5, None, "é"], "big": 2**60}
        job = store.new(spec=spec, metadata={"x": {}}, progress={"percent": 0.0}, key="k", digest="d")
        assert store.get(job.id) == job
        assert (job.state, job.attempt, job.token, job.cancel_requested) == (JobState.QUEUED, 0, 0, False)
        assert (job.spec, job.metadata, job.progress) == (spec, {"x": {}}, {"percent": 0.0})
        assert abs(job.created_at - time.time()) < 5
        assert store.by_key("k") == (job, "d")
        assert store.by_key("other") is None
        assert store.statuses(job) == ["queued"]

    def test_an_unknown_id(self, store: Store) -> None:
        assert store.get("x") is None
        assert store.claim("x", lease=LEASE) is None
        assert store.cancel("x") is None
        assert store.delete("x") is False


class TestPage:
    def test_newest_first(self, store: Store) -> None:
        ids = [store.new(model=model).id for model in "aabab"][::-1]

        def page(**options: Any) -> list[str]:
            usual = {"status": None, "model": None, "after": None, "limit": 100}
            return [job.id for job in store.page(**usual | options)]

        assert page() == ids
        assert page(limit=2) == ids[:2]
        assert page(after=ids[1], limit=2) == ids[2:4]
        assert page(after=ids[-1]) == []
        assert page(model="b") == [ids[0], ids[2]]
        assert page(model="a", after=ids[2]) == ids[3:]

    def test_by_status(self, store: Store) -> None:
        jobs = {state.value: make(store).id for state, make in MAKE.items()}
        cancelling = store.running()
        store.cancel(cancelling.id)
        for status, job_id in {**jobs, "cancelling": cancelling.id}.items():
            assert [job.id for job in store.page(status=status, model=None, after=None, limit=9)] == [job_id]

    def test_counts(self, store: Store) -> None:
        assert store.counts() == dict.fromkeys([state.value for state in JobState], 0)
        for state, make in MAKE.items():
            make(store)
            assert store.counts()[state.value] == 1


class TestClaim:
    def test_a_run_has_a_token_an_attempt_and_a_start(self, store: Store) -> None:
        job = store.running()
        assert (job.state, job.token, job.attempt) == (JobState.RUNNING, 1, 1)
        assert job.started_at == pytest.approx(time.time(), abs=5)
        store.requeue(job, counts=True)
        again = store.claim(job.id, lease=LEASE)
        assert (again.token, again.attempt, again.started_at) == (2, 2, job.started_at)

    def test_of_many_at_once_one_wins(self, store: Store) -> None:
        job = store.new()
        barrier = threading.Barrier(8)

        def claim(_: int) -> Job | None:
            barrier.wait()
            claimed: Job | None = store.claim(job.id, lease=LEASE)
            return claimed

        with ThreadPoolExecutor(8) as pool:
            won = [claimed for claimed in pool.map(claim, range(8)) if claimed is not None]
        assert [claimed.token for claimed in won] == [1]
        assert store.statuses(job) == ["queued", "running"]

    def test_the_history_begins_again(self, store: Store) -> None:
        job = store.running()
        store.record_epochs(job, [{"epoch": 1, "loss": 0.5}])
        store.requeue(job, counts=True)
        assert len(store.history(job.id)) == 1
        store.claim(job.id, lease=LEASE)
        assert store.history(job.id) == []

    def test_the_oldest_that_is_queued_is_next(self, store: Store) -> None:
        first, second = store.new(), store.new()
        assert store.oldest_queued(excluding=()) == first.id
        assert store.oldest_queued(excluding={first.id}) == second.id
        store.claim(first.id, lease=LEASE)
        assert store.oldest_queued(excluding=()) == second.id
        store.cancel(second.id)
        assert store.oldest_queued(excluding=()) is None


class TestFencing:
    """A run whose job belongs to somebody else by now changes nothing."""

    @pytest.fixture
    def stale(self, store: Store) -> Job:
        job = store.running()
        store.requeue(job, counts=True)
        assert store.claim(job.id, lease=LEASE).token == 2
        return job

    @pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED])
    def test_it_cannot_end_it(self, state: JobState, stale: Job, store: Store) -> None:
        before = store.get(stale.id)
        assert store.finish(stale, state, error={"code": "x"}, result={"version": 1}) is False
        assert store.get(stale.id) == before

    def test_it_cannot_beat_record_or_requeue(self, stale: Job, store: Store) -> None:
        before = store.get(stale.id), store.events(stale.id, after=0, limit=100)
        assert store.heartbeat(stale, lease=LEASE, progress={"percent": 99.0}) is False
        store.record_epochs(stale, [{"epoch": 1, "loss": 0.5}])
        assert store.requeue(stale, counts=True) is False
        assert (store.get(stale.id), store.events(stale.id, after=0, limit=100)) == before
        assert store.history(stale.id) == []

    def test_nor_can_one_with_a_token_of_the_future(self, store: Store) -> None:
        job = store.running()
        assert store.finish(replace(job, token=2), JobState.SUCCEEDED) is False


class TestHeartbeat:
    def test_it_stores_progress_and_tells_of_a_cancel(self, store: Store) -> None:
        job = store.running()
        assert store.heartbeat(job, lease=LEASE, progress={"percent": 5.0}) is True
        assert store.get(job.id).progress == {"percent": 5.0}
        store.cancel(job.id)
        assert store.heartbeat(job, lease=LEASE, progress={"percent": 6.0}) is False

    def test_it_extends_the_lease(self, store: Store) -> None:
        job = store.running(lease=-1)
        store.heartbeat(job, lease=LEASE, progress={})
        assert store.recover(max_attempts=3, expired_only=True) == []
        store.heartbeat(job, lease=-1, progress={})
        assert len(store.recover(max_attempts=3, expired_only=True)) == 1


class TestEpochs:
    def test_they_are_kept_in_order_and_told_as_events(self, store: Store) -> None:
        job = store.running()
        epochs = [{"epoch": number, "loss": 1 / number} for number in (1, 2, 3)]
        store.record_epochs(job, epochs[:1])
        store.record_epochs(job, epochs[1:])
        assert store.history(job.id) == epochs
        events = store.events(job.id, after=2, limit=100)
        assert [(event.number, event.type, event.data) for event in events] == [
            (number, "epoch", data) for number, data in zip((3, 4, 5), epochs, strict=True)
        ]
        assert [event.number for event in store.events(job.id, after=3, limit=1)] == [4]

    def test_an_epoch_that_comes_again_takes_the_place_of_the_first(self, store: Store) -> None:
        job = store.running()
        store.record_epochs(job, [{"epoch": number, "loss": 1.0} for number in (1, 2, 3)])
        store.record_epochs(job, [{"epoch": 2, "loss": 0.5}])
        assert [row["loss"] for row in store.history(job.id)] == [1.0, 0.5, 1.0]

    def test_numbers_have_no_gap_and_no_double_however_many_write(self, store: Store) -> None:
        job = store.running()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: store.record_epochs(job, [{"epoch": 2 * n}, {"epoch": 2 * n + 1}]), range(10)))
        assert [event.number for event in store.events(job.id, after=0, limit=100)] == list(range(1, 23))


class TestFinish:
    def test_success(self, store: Store) -> None:
        job = store.running()
        store.heartbeat(job, lease=LEASE, progress={"percent": 40.0, "epoch": 4})
        assert store.finish(job, JobState.SUCCEEDED, result={"version": 3}) is True
        ended = store.get(job.id)
        assert (ended.state, ended.result, ended.error) == (JobState.SUCCEEDED, {"version": 3}, None)
        assert ended.progress == {"percent": 100.0, "epoch": 4}, "early stopping also is all of it"
        assert ended.finished_at == pytest.approx(time.time(), abs=5)

    def test_failure_keeps_its_reason(self, store: Store) -> None:
        job = store.running()
        error = {"code": "diverged", "message": "…", "epoch": 3}
        assert store.finish(job, JobState.FAILED, error=error) is True
        assert store.get(job.id).error == error
        assert store.events(job.id, after=2, limit=1)[0].data == {"status": "failed", "attempt": 1, "error": error}

    def test_what_is_to_be_cancelled_does_not_succeed(self, store: Store) -> None:
        job = store.running()
        store.cancel(job.id)
        assert store.finish(job, JobState.SUCCEEDED) is False
        assert store.finish(job, JobState.CANCELLED) is True

    def test_cancel_and_success_at_the_same_instant_never_both(self, store: Store) -> None:
        barrier = threading.Barrier(2)

        def at_once(move: Callable[..., Any], *arguments: Any) -> bool:
            barrier.wait()
            return bool(move(*arguments))

        with ThreadPoolExecutor(2) as pool:
            for _ in range(15):
                job = store.running()
                succeeds = pool.submit(at_once, store.finish, job, JobState.SUCCEEDED)
                cancelled = pool.submit(at_once, store.cancel, job.id).result()
                assert succeeds.result() is not cancelled
                assert store.get(job.id).status == ("cancelling" if cancelled else "succeeded")


class TestCancel:
    def test_asking_twice_is_asking_once(self, store: Store) -> None:
        job = store.running()
        assert store.cancel(job.id) == store.cancel(job.id)
        assert store.statuses(job) == ["queued", "running", "cancelling"]


class TestRequeue:
    @pytest.mark.parametrize(("counts", "attempt"), [(True, 1), (False, 0)])
    def test_the_attempt_counts_or_does_not(self, counts: bool, attempt: int, store: Store) -> None:
        job = store.running()
        assert store.requeue(job, counts=counts) is True
        assert (store.get(job.id).state, store.get(job.id).attempt) == (JobState.QUEUED, attempt)

    def test_what_is_to_be_cancelled_is_not_queued_again(self, store: Store) -> None:
        job = store.running()
        store.cancel(job.id)
        assert store.requeue(job, counts=False) is False


class TestRecover:
    @pytest.mark.parametrize(
        ("lease", "expired_only", "taken"),
        [(-1, True, True), (LEASE, True, False), (-1, False, True), (LEASE, False, True)],
    )
    def test_what_nobody_runs_is_queued_again(
        self, lease: float, expired_only: bool, taken: bool, store: Store
    ) -> None:
        job = store.running(lease=lease)
        recovered = store.recover(max_attempts=3, expired_only=expired_only)
        assert [found.id for found in recovered] == ([job.id] if taken else [])
        assert store.state(job) is (JobState.QUEUED if taken else JobState.RUNNING)
        if taken:
            assert store.finish(job, JobState.SUCCEEDED) is False, "the run that was thought lost is shut out"
            assert store.claim(job.id, lease=LEASE).token == 3

    def test_after_its_last_attempt_it_fails(self, store: Store) -> None:
        job = store.running(lease=-1)
        (failed,) = store.recover(max_attempts=1, expired_only=True)
        assert (failed.id, failed.state, failed.error["code"]) == (job.id, JobState.FAILED, "worker_lost")
        assert failed.finished_at is not None

    def test_what_was_to_be_cancelled_is(self, store: Store) -> None:
        job = store.running(lease=-1)
        store.cancel(job.id)
        (cancelled,) = store.recover(max_attempts=1, expired_only=True)
        assert (cancelled.state, cancelled.error) == (JobState.CANCELLED, None)

    def test_nothing_else_is_touched(self, store: Store) -> None:
        others = [make(store) for state, make in MAKE.items() if state is not JobState.RUNNING]
        before = [store.get(job.id) for job in others]
        assert store.recover(max_attempts=1, expired_only=False) == []
        assert [store.get(job.id) for job in others] == before


class TestDelete:
    @pytest.mark.parametrize("state", JobState)
    def test_an_ended_job_goes_with_all_that_belongs_to_it(self, state: JobState, store: Store) -> None:
        job = MAKE[state](store)
        assert store.delete(job.id) is state.is_final
        assert (store.get(job.id) is None) is state.is_final
        assert (store.events(job.id, after=0, limit=1) == []) is state.is_final

    def test_its_place_in_the_list_is_not_taken_again(self, store: Store) -> None:
        kept, gone = store.new(), MAKE[JobState.FAILED](store)
        store.delete(gone.id)
        new = store.new()
        assert [job.id for job in store.page(status=None, model=None, after=None, limit=9)] == [new.id, kept.id]
