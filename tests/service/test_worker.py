"""Runs of jobs with real training processes; what servers add to that is tried in tests/integration."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nn import complete
from nn.schema import to_json
from service import worker as module
from service.artifacts import ObjectArtifactStore
from service.domain import Job
from service.errors import StorageError
from service.registry import Registry
from service.store import SqlDatabase, SqlJobRows, SqlModelRows
from service.worker import TrainingProcess, Worker

rows = SqlJobRows()
SHORT = to_json(complete("toy-regression", training={"epochs": 2}))
ENDLESS = to_json(complete("toy-regression", training={"epochs": 100_000}))


@pytest.fixture
def worker(database: SqlDatabase, registry: Registry) -> Worker:
    return Worker(database, rows, registry, lease=30, max_attempts=2, threads=1)


@pytest.fixture
def submit(database: SqlDatabase) -> Callable[[Any], str]:
    def add(spec: Any) -> str:
        with database.write() as tx:
            options: Any = {"metadata": {}, "progress": {}, "key": None, "digest": ""}
            return rows.add(tx, dataset=spec["dataset"], model="a", spec=spec, **options).id

    return add


def job_of(database: SqlDatabase, job_id: str) -> Job:
    with database.read() as tx:
        job = rows.get(tx, job_id)
    assert job is not None
    return job


def epochs(database: SqlDatabase, job_id: str) -> int:
    with database.read() as tx:
        return len(rows.history(tx, job_id))


@contextmanager
def running(worker: Worker, database: SqlDatabase, job_id: str) -> Iterator[None]:
    """A run in a thread of its own, in its midst; waits for its end."""
    thread = threading.Thread(target=worker.run, args=(job_id,))
    thread.start()
    deadline = time.monotonic() + 20
    while not epochs(database, job_id):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield
    thread.join(10)
    assert not thread.is_alive()


class TestRun:
    def test_a_job_becomes_a_version(
        self, worker: Worker, database: SqlDatabase, registry: Registry, submit: Callable[[Any], str]
    ) -> None:
        job_id = submit(SHORT)
        assert worker.next_job(()) == job_id
        worker.run(job_id)
        job = job_of(database, job_id)
        (version,) = registry.versions("a")
        assert (job.status, version.job) == ("succeeded", job_id)
        assert job.result == {
            "model": "a",
            "version": 1,
            "sha256": version.sha256,
            "metrics": version.info["metrics"],
            "best_epoch": 2,
        }
        assert (epochs(database, job_id), worker.next_job(())) == (2, None)

    def test_delivered_twice_it_runs_once(
        self, worker: Worker, database: SqlDatabase, registry: Registry, submit: Callable[[Any], str]
    ) -> None:
        job_id = submit(SHORT)
        threads = [threading.Thread(target=worker.run, args=(job_id,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (job_of(database, job_id).attempt, len(registry.versions("a"))) == (1, 1)

    def test_an_error_of_the_worker_itself_is_tried_again_and_then_fails_the_job(
        self, worker: Worker, database: SqlDatabase, submit: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object) -> None:
            raise RuntimeError("secret")

        monkeypatch.setattr(Worker, "_follow", broken)
        monkeypatch.setattr(module, "RETRY_SECONDS", 0)
        job_id = submit(SHORT)
        worker.run(job_id)
        assert job_of(database, job_id).status == "queued"
        worker.run(job_id)
        job = job_of(database, job_id)
        assert job.status == "failed"
        assert job.error is not None
        assert "attempt 2 of 2" in job.error["message"]
        assert "secret" not in job.error["message"]


class TestFencing:
    def test_a_run_whose_job_was_taken_back_writes_nothing_any_more(
        self, worker: Worker, database: SqlDatabase, registry: Registry, submit: Callable[[Any], str]
    ) -> None:
        job_id = submit(ENDLESS)
        with running(worker, database, job_id):
            worker.recover(expired_only=False)
            taken = job_of(database, job_id)
            assert (taken.status, taken.token) == ("queued", 2)
            worker.nudge(job_id)
        assert job_of(database, job_id) == taken
        assert registry.names() == {}

    def test_a_run_heeds_a_cancel_at_the_next_heartbeat_even_if_nobody_tells_it(
        self, worker: Worker, database: SqlDatabase, submit: Callable[[Any], str]
    ) -> None:
        job_id = submit(ENDLESS)
        with running(worker, database, job_id):
            asked = time.monotonic()
            with database.write() as tx:
                rows.cancel(tx, job_id)
        assert time.monotonic() - asked < module.HEARTBEAT_SECONDS + 2
        assert job_of(database, job_id).status == "cancelled"

    def test_told_to_stop_it_gives_its_job_back_and_takes_no_other(
        self, worker: Worker, database: SqlDatabase, submit: Callable[[Any], str]
    ) -> None:
        job_id, other = submit(ENDLESS), submit(SHORT)
        with running(worker, database, job_id):
            worker.stop()
        assert (job_of(database, job_id).status, job_of(database, job_id).attempt) == ("queued", 0)
        worker.run(other)
        assert job_of(database, other).status == "queued"


def test_a_store_that_takes_nothing_fails_the_job_with_that_reason(
    database: SqlDatabase, submit: Callable[[Any], str]
) -> None:
    class Full(ObjectArtifactStore):
        def put(self, path: str, data: bytes) -> None:
            raise StorageError("No space left on device")

    registry = Registry(database, SqlModelRows(), Full("memory://"))
    job_id = submit(SHORT)
    Worker(database, rows, registry, lease=30, max_attempts=2, threads=1).run(job_id)
    job = job_of(database, job_id)
    assert (job.status, job.error) == ("failed", {"code": "storage", "message": "No space left on device"})
    assert registry.names() == {}


class TestTrainingProcess:
    def test_nothing_of_it_stays(self) -> None:
        with TrainingProcess(ENDLESS, 1) as child:
            assert next(child.messages(every=10))["type"] == "progress"
            pid = child._process.pid
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)

    @pytest.mark.parametrize(("threads", "argument"), [(None, []), (1, [b"1"]), (3, [b"3"])])
    def test_it_is_told_the_threads_and_its_blas_has_one(
        self, threads: int | None, argument: list[bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever the environment of the server says; a child that wants more for BLAS says so itself."""
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", "8")
        monkeypatch.setenv("OMP_NUM_THREADS", "8")
        with TrainingProcess(ENDLESS, threads) as child:
            place = Path(f"/proc/{child._process.pid}")
            if not place.exists():
                pytest.skip("reads arguments and environment in /proc")
            assert next(child.messages(every=10))["type"] == "progress"
            command = (place / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            environment = (place / "environ").read_bytes().split(b"\0")
        assert command[command.index(b"service.training") + 1 :] == argument
        assert {b"OPENBLAS_NUM_THREADS=1", b"OMP_NUM_THREADS=1", b"MKL_NUM_THREADS=1"} <= set(environment)

    def test_one_that_does_not_listen_is_killed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "EXIT_SECONDS", 0.2)
        with TrainingProcess(ENDLESS, 1) as child:
            os.kill(child._process.pid, signal.SIGSTOP)
        assert child._process.returncode == -signal.SIGKILL

    @pytest.mark.parametrize(
        ("number", "said"),
        [(signal.SIGKILL, "SIGKILL is what a system short of memory sends"), (signal.SIGSEGV, "SIGSEGV")],
    )
    def test_how_it_was_ended_is_told(self, number: signal.Signals, said: str) -> None:
        with TrainingProcess(ENDLESS, 1) as child:
            os.kill(child._process.pid, number)
            list(child.messages(every=10))
            assert said in child.exit_reason()

    def test_one_that_dies_at_once(self) -> None:
        with TrainingProcess({"dataset": "heart"}, 1) as child:
            assert list(child.messages(every=10)) == []
            assert "exit code 1 and no result" in child.exit_reason()

    def test_a_nudge_and_a_pause_come_between_its_messages(self) -> None:
        with TrainingProcess(ENDLESS, 1) as child:
            child.nudge()
            kinds = (message["type"] for message in child.messages(every=0.001))
            assert {next(kinds) for _ in range(20)} >= {"nudge", "pause"}
