"""The dispatcher of one machine: threads of this process that take jobs from the database."""

from __future__ import annotations

import fcntl
import logging
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO

from service.errors import ConfigurationError, ServiceError
from service.ports import Transaction

log = logging.getLogger(__name__)

POLL_SECONDS = 1.0
RECONCILE_SECONDS = 5.0


class LocalDispatcher:
    """So many slots, each a thread that runs one job at a time.

    A job's row is its ticket, so nothing can be lost between the two. `next_job` gives the id of a queued job, `nudge`
    is told of jobs worth a look, and `recover` takes back what nobody runs: everything that is running at `start`,
    since a lock on the file beside the database lets one process run its jobs; later what has lost its lease.
    """

    def __init__(
        self,
        lock: Path,
        slots: int,
        *,
        next_job: Callable[[Collection[str]], str | None],
        nudge: Callable[[str], None],
        recover: Callable[[bool], None],
    ) -> None:
        self._lock_path = lock
        self._slots = slots
        self._next_job = next_job
        self._nudge = nudge
        self._recover = recover
        self._lock: IO[str] | None = None
        self._woken = threading.Condition()
        self._wakes = 0
        self._looking = threading.Lock()
        self._closed = threading.Event()
        self._taken: set[str] = set()
        self._threads: list[threading.Thread] = []

    def submit(self, tx: Transaction, job_id: str) -> None:
        """Nothing: the row that the transaction stores is the ticket."""

    def wake(self, job_id: str) -> None:
        self._nudge(job_id)
        with self._woken:
            self._wakes += 1
            self._woken.notify_all()

    def start(self, run: Callable[[str], None]) -> None:
        """Raises `ConfigurationError` where another process runs the jobs of this database."""
        self._lock = self._lock_path.open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise ConfigurationError(
                "another trainserve runs the jobs of this database; stop it, or set TRAINSERVE_DATABASE_URL and "
                "TRAINSERVE_ARTIFACTS_URL to places of its own"
            ) from None
        self._recover(False)
        for slot in range(self._slots):
            thread = threading.Thread(target=self._work, args=(run,), name=f"slot-{slot}", daemon=True)
            self._threads.append(thread)
            thread.start()
        keeper = threading.Thread(target=self._keep, name="reconciler", daemon=True)
        self._threads.append(keeper)
        keeper.start()

    def close(self, grace: float) -> None:
        with self._woken:
            self._closed.set()
            self._woken.notify_all()
        deadline = time.monotonic() + grace
        for thread in self._threads:
            thread.join(max(0, deadline - time.monotonic()))
        if self._lock is not None:
            self._lock.close()

    def _work(self, run: Callable[[str], None]) -> None:
        while not self._closed.is_set():
            job_id, wakes = None, self._wakes
            try:
                job_id = self._take()
                if job_id is not None:
                    run(job_id)
                    continue
            except ServiceError as error:
                log.error("slot cannot work now", extra={"action": "slot_waits", "reason": error.detail})
            except Exception:
                log.exception("slot broke", extra={"action": "slot_broke"})
            finally:
                self._taken.discard(job_id or "")
            self._pause(wakes)

    def _take(self) -> str | None:
        # One slot looks at a time, and what it takes the next one does not: claims do not collide.
        with self._looking:
            job_id = self._next_job(frozenset(self._taken))
            if job_id is not None:
                self._taken.add(job_id)
            return job_id

    def _keep(self) -> None:
        while not self._closed.wait(RECONCILE_SECONDS):
            try:
                self._recover(True)
            except ServiceError as error:
                log.error("jobs cannot be reconciled now", extra={"action": "reconcile", "reason": error.detail})
            except Exception:
                log.exception("reconciler broke", extra={"action": "reconciler_broke"})

    def _pause(self, wakes: int) -> None:
        """Waits for the next wake, or a second; not at all where one came since `wakes` of them had."""
        with self._woken:
            if not self._closed.is_set() and self._wakes == wakes:
                self._woken.wait(POLL_SECONDS)
