"""One run of one job: claim, child process, progress and heartbeat, publish."""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import IO, Self

from service.domain import Job, JobState, JSONObject, ModelVersion
from service.errors import Conflict, StorageError, Unavailable
from service.ports import Database, RunRows, Transaction
from service.registry import Registry
from service.resources import thread_limits

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 1.0
RETRY_SECONDS = 0.5
EXIT_SECONDS = 2.0
MAX_ARTIFACT = 2**31


class LostError(Exception):
    """The job belongs to somebody else by now, or is to be cancelled: what this run still has to say is void."""


class TrainingProcess:
    """A fresh child process that trains; a context manager that leaves no process behind.

    It is spawned and not forked, with the threads of its BLAS capped, and it ends when its standard input closes: also
    when this process is killed. `threads` are those of the setting.
    """

    def __init__(self, spec: JSONObject, threads: int | None) -> None:
        # -P: a file that lies in the working directory must not pass for a module.
        command = [sys.executable, "-P", "-m", "service.training"]
        self._process = subprocess.Popen(  # noqa: S603  (our own command)
            command if threads is None else [*command, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **thread_limits(1)},
            start_new_session=True,  # a Ctrl-C at the terminal is for the server, which then ends its children
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._messages: queue.SimpleQueue[JSONObject | None] = queue.SimpleQueue()
        self.artifact = b""
        self._stdin = self._process.stdin
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        with suppress(BrokenPipeError):  # it died at once: the end of its messages says so
            self._stdin.write(json.dumps(spec).encode() + b"\n")
            self._stdin.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        with suppress(BrokenPipeError):  # it is dead already, and that is what was wanted
            self._stdin.close()
        try:
            self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    def nudge(self) -> None:
        """Lets the follower of `messages` look at the job's row now."""
        self._messages.put({"type": "nudge"})

    def messages(self, every: float) -> Iterator[JSONObject]:
        """What the child tells, a `nudge` where one was given, and a `pause` after so many silent seconds."""
        while True:
            try:
                message = self._messages.get(timeout=every)
            except queue.Empty:
                message = {"type": "pause"}
            if message is None:
                return
            yield message

    def exit_reason(self) -> str:
        """How a child that sent no result has ended."""
        code = self._process.wait()
        if code >= 0:
            return f"the training process ended with exit code {code} and no result"
        name = signal.Signals(-code).name
        hint = "; SIGKILL is what a system short of memory sends" if name == "SIGKILL" else ""
        return f"the training process was ended by {name}{hint}"

    def _read(self, out: IO[bytes]) -> None:
        try:
            for line in out:
                message = json.loads(line)
                if message["type"] == "artifact":
                    self.artifact = out.read(min(message["size"], MAX_ARTIFACT))
                    if len(self.artifact) < message["size"]:
                        break  # it died while it wrote
                self._messages.put(message)
        finally:
            self._messages.put(None)
            out.close()


class Worker:
    """Runs jobs, from any number of threads; each run is fenced by its token."""

    def __init__(
        self,
        database: Database,
        rows: RunRows,
        registry: Registry,
        *,
        lease: float,
        max_attempts: int,
        threads: int | None,
    ) -> None:
        self._database = database
        self._rows = rows
        self._registry = registry
        self._lease = lease
        self._max_attempts = max_attempts
        self._threads = threads
        self._stopping = threading.Event()
        self._children: dict[str, TrainingProcess] = {}

    def next_job(self, excluding: Collection[str]) -> str | None:
        """The job that has waited longest, beside those that are being taken already."""
        with self._database.read() as tx:
            return self._rows.oldest_queued(tx, excluding=excluding)

    def recover(self, *, expired_only: bool = True) -> None:
        """Takes back the jobs that nobody runs any more."""
        with self._database.write() as tx:
            recovered = self._rows.recover(tx, max_attempts=self._max_attempts, expired_only=expired_only)
        for job in recovered:
            log.warning("job taken back", extra={"action": "job_recovered", "job": job.id, "status": job.status})

    def nudge(self, job_id: str) -> None:
        """Lets the run of a job look at its row at once."""
        child = self._children.get(job_id)
        if child is not None:
            child.nudge()

    def stop(self) -> None:
        """Ends every run; the jobs go back to the queue."""
        self._stopping.set()
        for child in list(self._children.values()):
            child.nudge()

    def run(self, job_id: str) -> None:
        """Claims a job and sees it through. Returns when it has ended, or belongs to somebody else."""
        if self._stopping.is_set():
            return
        with self._database.write() as tx:
            job = self._rows.claim(tx, job_id, lease=self._lease)
        if job is None:
            return
        log.info("job started", extra={"action": "job_started", "job": job.id, "attempt": job.attempt})
        try:
            with TrainingProcess(job.spec, self._threads) as child:
                self._children[job.id] = child
                self._follow(job, child)
        except LostError:
            self._give_up(job)
        except StorageError as error:
            self._fail(job, "storage", error.detail)
        except Unavailable:
            raise  # the row cannot be written now: its lease will run out, and the job be taken back
        except Exception:
            log.exception("run broke", extra={"action": "run_broke", "job": job.id})
            self._retry(job, "the worker met an error of its own; its log has the details")
        finally:
            self._children.pop(job.id, None)

    def _follow(self, job: Job, child: TrainingProcess) -> None:
        """Stores what the child tells until it ends; publishes what it made."""
        progress, rows = job.progress, list[JSONObject]()
        beaten = written = time.monotonic()
        for message in child.messages(every=HEARTBEAT_SECONDS):
            kind, moment = message["type"], time.monotonic()
            if kind == "progress":
                progress = message["progress"]
            elif kind == "epochs":
                rows += message["rows"]
            ends = kind in ("error", "artifact")
            if ends or kind == "nudge" or rows or moment - beaten >= HEARTBEAT_SECONDS:
                beaten = moment
                try:
                    self._write(job, progress, rows)
                except Unavailable:
                    # A database that is away for a moment costs no run, while the lease lasts.
                    if ends or moment - written > self._lease / 2:
                        raise
                else:
                    rows, written = [], moment
            if kind == "artifact":
                return self._publish(job, child.artifact, message)
            if kind == "error":
                return self._report(job, message)
        self._write(job, progress, rows)
        return self._retry(job, child.exit_reason())

    def _write(self, job: Job, progress: JSONObject, rows: list[JSONObject]) -> None:
        """Stores epochs and progress and extends the lease. Raises `LostError` where the run is to end."""
        if self._stopping.is_set():
            raise LostError
        with self._database.write() as tx:
            if rows:
                self._rows.record_epochs(tx, job, rows)
            goes_on = self._rows.heartbeat(tx, job, lease=self._lease, progress=progress)
        if not goes_on:
            raise LostError

    def _report(self, job: Job, message: JSONObject) -> None:
        """Fails a job with the error that its training told."""
        if "traceback" in message:
            log.error("training broke", extra={"action": "training_broke", "job": job.id, "told": message["traceback"]})
        error = {name: value for name, value in message.items() if name not in ("type", "traceback")}
        self._finish(job, JobState.FAILED, error=error)

    def _publish(self, job: Job, data: bytes, message: JSONObject) -> None:
        def succeed(tx: Transaction, version: ModelVersion) -> None:
            result = {
                "model": version.name,
                "version": version.version,
                "sha256": version.sha256,
                "metrics": message["metrics"],
                "best_epoch": message["best_epoch"],
            }
            if not self._rows.finish(tx, job, JobState.SUCCEEDED, result=result):
                raise LostError  # and the version is not published either

        try:
            version = self._registry.publish(job.model, data, job_id=job.id, within=succeed)
        except Conflict:
            raise LostError from None  # another run of the job has published meanwhile
        log.info(
            "job succeeded",
            extra={"action": "job_succeeded", "job": job.id, "model": version.name, "version": version.version},
        )

    def _retry(self, job: Job, reason: str) -> None:
        if job.attempt >= self._max_attempts:
            return self._fail(job, "worker_died", f"{reason}; that was attempt {job.attempt} of {self._max_attempts}")
        log.warning("job runs again", extra={"action": "job_requeued", "job": job.id, "reason": reason})
        # What killed it, a system short of memory perhaps, is given a moment to pass; a shutdown does not wait.
        self._stopping.wait(RETRY_SECONDS * job.attempt)
        with self._database.write() as tx:
            requeued = self._rows.requeue(tx, job, counts=True)
        return None if requeued else self._give_up(job)

    def _give_up(self, job: Job) -> None:
        """Leaves a job that is to be cancelled, or that the shutdown interrupts, in order; else it is not ours."""
        with self._database.write() as tx:
            # Refused where a cancel was asked for, and then that is what happens.
            requeued = self._stopping.is_set() and self._rows.requeue(tx, job, counts=False)
            cancelled = not requeued and self._rows.finish(tx, job, JobState.CANCELLED)
        action = "job_requeued" if requeued else "job_cancelled" if cancelled else "job_lost"
        log.info("run ended early", extra={"action": action, "job": job.id})

    def _fail(self, job: Job, code: str, message: str) -> None:
        self._finish(job, JobState.FAILED, error={"code": code, "message": message})

    def _finish(self, job: Job, state: JobState, error: JSONObject) -> None:
        with self._database.write() as tx:
            if self._rows.finish(tx, job, state, error=error):
                self._registry.release(tx, job.model, job.id)  # nobody else runs the job who might still publish
        log.warning(
            "job failed",
            extra={"action": "job_failed", "job": job.id, "code": error["code"], "reason": error["message"]},
        )
