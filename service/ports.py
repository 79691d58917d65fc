"""What the use cases ask of the outside: the database, the artifact store, the dispatcher.

Everything that reads or writes rows is given a transaction, which the caller has opened and which is committed when its
block ends without an exception. Implementations are used from several threads at once; a transaction from one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from service.domain import AliasMove, Job, JobEvent, JobState, JSONObject, ModelVersion, VersionRow

Transaction = Any  # the store's own handle; nobody else looks inside


class Database(Protocol):
    """Opens transactions. Raises `Unavailable` where the database cannot be reached."""

    def read(self) -> AbstractContextManager[Transaction]:
        """A consistent view."""
        ...

    def write(self) -> AbstractContextManager[Transaction]:
        """The one writer, or one that waits for its turn."""
        ...

    def ping(self) -> None: ...

    def close(self) -> None: ...


class JobRows(Protocol):
    """Jobs as those who ask for them see them."""

    def add(
        self,
        tx: Transaction,
        *,
        dataset: str,
        model: str,
        spec: JSONObject,
        metadata: JSONObject,
        progress: JSONObject,
        key: str | None,
        digest: str,
    ) -> Job: ...

    def get(self, tx: Transaction, job_id: str) -> Job | None: ...

    def by_key(self, tx: Transaction, key: str) -> tuple[Job, str] | None:
        """The job that was submitted with an idempotency key, and the digest of that request."""
        ...

    def page(
        self, tx: Transaction, *, status: str | None, model: str | None, after: str | None, limit: int
    ) -> list[Job]:
        """At most `limit` jobs, newest first, those older than the job `after`."""
        ...

    def cancel(self, tx: Transaction, job_id: str) -> Job | None:
        """Ends a queued job, marks a running one; None where the job was in neither state."""
        ...

    def delete(self, tx: Transaction, job_id: str) -> bool:
        """Takes an ended job away with its history and events; False where it has not ended."""
        ...

    def history(self, tx: Transaction, job_id: str) -> list[JSONObject]: ...

    def events(self, tx: Transaction, job_id: str, *, after: int, limit: int) -> list[JobEvent]: ...

    def counts(self, tx: Transaction) -> dict[str, int]: ...


class RunRows(Protocol):
    """Jobs as those who run them see them. A write with a token that is no longer the job's changes nothing."""

    def oldest_queued(self, tx: Transaction, *, excluding: Collection[str]) -> str | None: ...

    def claim(self, tx: Transaction, job_id: str, *, lease: float) -> Job | None:
        """Takes the job for a new run with a new token; None where it is not queued any more."""
        ...

    def heartbeat(self, tx: Transaction, job: Job, *, lease: float, progress: JSONObject) -> bool:
        """Extends the lease, stores progress; False where the run is to end: cancelled, or somebody else's by now."""
        ...

    def record_epochs(self, tx: Transaction, job: Job, rows: Sequence[JSONObject]) -> None:
        """Writes epochs of the history, in the place of those that an earlier attempt wrote, and an event of each."""
        ...

    def finish(
        self,
        tx: Transaction,
        job: Job,
        state: JobState,
        *,
        error: JSONObject | None = None,
        result: JSONObject | None = None,
    ) -> bool:
        """Ends the run. `SUCCEEDED` is refused, with False, once the job is to be cancelled."""
        ...

    def requeue(self, tx: Transaction, job: Job, *, counts: bool) -> bool:
        """Gives the job back to the queue; `counts` says whether the attempt does."""
        ...

    def recover(self, tx: Transaction, *, max_attempts: int, expired_only: bool) -> list[Job]:
        """Takes back what nobody runs any more: queued again, cancelled, or failed after its last attempt."""
        ...


class ModelRows(Protocol):
    """Versions of models and their aliases."""

    def reserve(self, tx: Transaction, name: str, *, job_id: str | None, version: int | None = None) -> int:
        """A version number that nobody else will get; a job gets the same one again. It is not seen until published."""
        ...

    def release(self, tx: Transaction, name: str, *, version: int | None, job_id: str | None) -> None:
        """Gives a number back that was reserved and not published: that of a job, or one reserved without a job."""
        ...

    def publish(self, tx: Transaction, version: ModelVersion) -> bool:
        """Makes a reserved version seen and moves `latest` to it where it is the newest; False where it was published
        already, which is what happens to a run that was thought lost.
        """
        ...

    def withdraw(self, tx: Transaction, name: str, version: int, *, withdrawn: bool) -> None:
        """Makes a published version unseen, because its artifact is gone, or seen again.

        Its number and its aliases stay its own, but for `latest`, which is the newest that is seen.
        """
        ...

    def rows(self, tx: Transaction) -> list[VersionRow]:
        """Every version that has a row, seen or not."""
        ...

    def versions(self, tx: Transaction, name: str | None = None) -> list[ModelVersion]: ...

    def find(self, tx: Transaction, name: str, *, version: int | None, alias: str) -> ModelVersion | None: ...

    def set_alias(self, tx: Transaction, name: str, alias: str, version: int | None) -> bool:
        """Moves an alias, or takes it away, and logs it; False where it was there, or not there, already."""
        ...

    def alias_history(self, tx: Transaction, name: str, alias: str) -> list[AliasMove]: ...


class ArtifactStore(Protocol):
    """Objects by path. Raises `StorageError` with the reason where it cannot take or give them."""

    def put(self, path: str, data: bytes) -> None:
        """Writes an object whole or not at all."""
        ...

    def get(self, path: str) -> bytes: ...

    def list(self) -> Sequence[str]:
        """The paths of all objects, oldest first."""
        ...

    def check(self) -> None:
        """Raises `StorageError` where the store is not there."""
        ...


class Dispatcher(Protocol):
    """How a job's id reaches a worker. It may deliver twice, late or never: the job's row decides."""

    def submit(self, tx: Transaction, job_id: str) -> None:
        """Leaves a ticket in the transaction that stores the job."""
        ...

    def wake(self, job_id: str) -> None:
        """A hint that the job's row is worth a look."""
        ...

    def start(self, run: Callable[[str], None]) -> None:
        """Calls `run` with the ids of jobs from now on, from threads of its own."""
        ...

    def close(self, grace: float) -> None:
        """Takes no more tickets and waits so many seconds at most for the runs under way."""
        ...
