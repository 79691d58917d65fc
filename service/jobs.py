"""Submit, list, follow, cancel and delete training jobs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import nn
from nn.schema import to_json
from service.domain import STATUSES, Job, JobEvent, JSONObject, check_name
from service.errors import Conflict, InvalidInput, NotFound
from service.ports import Database, Dispatcher, JobRows, Transaction

MAX_METADATA = 16_384  # bytes of JSON: it is shown with every job of every list


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A training job as it is asked for; what is left out follows from the data set."""

    dataset: str
    model: str | None = None
    network: Any = None
    training: Any = None
    metadata: dict[str, Any] | None = None


class Jobs:
    """The use cases of those who want a network trained."""

    def __init__(self, database: Database, rows: JobRows, dispatcher: Dispatcher, *, max_training_memory: int) -> None:
        self._database = database
        self._rows = rows
        self._dispatcher = dispatcher
        self._max_training_memory = max_training_memory

    def submit(self, request: JobRequest, key: str | None = None) -> Job:
        """Stores a new job and its ticket in one transaction; the same key and body give the same job.

        Raises `nn.SpecError` or `InvalidInput` for what cannot be trained, `Conflict` for a key used with another body.
        """
        run = nn.complete(request.dataset, request.network, request.training, self._max_training_memory)
        model = run.dataset if request.model is None else request.model
        check_name(model)
        metadata = request.metadata or {}
        if len(json.dumps(metadata)) > MAX_METADATA:
            raise InvalidInput(f"expected at most {MAX_METADATA:,} bytes of metadata; keep more in a place of your own")
        digest = hashlib.sha256(json.dumps(asdict(request), sort_keys=True).encode()).hexdigest()
        progress = {"percent": 0.0, "epoch": 0, "epochs": run.training.epochs, "step": 0, "loss": None}
        with self._database.write() as tx:
            known = self._rows.by_key(tx, key) if key is not None else None
            if known is not None:
                if known[1] != digest:
                    raise Conflict(
                        "this Idempotency-Key was used for another job; take a new key for a new body, "
                        f"or send the body of job {known[0].id} again"
                    )
                return known[0]
            job = self._rows.add(
                tx,
                dataset=run.dataset,
                model=model,
                spec=to_json(run),
                metadata=metadata,
                progress=progress,
                key=key,
                digest=digest,
            )
            self._dispatcher.submit(tx, job.id)
        self._dispatcher.wake(job.id)
        return job

    def get(self, job_id: str) -> Job:
        """Raises `NotFound`."""
        with self._database.read() as tx:
            return self._found(tx, job_id)

    def page(
        self, *, status: str | None = None, model: str | None = None, after: str | None = None, limit: int
    ) -> tuple[list[Job], bool]:
        """Jobs, newest first, and whether there are more. Raises `NotFound` for an unknown `after`."""
        if status is not None and status not in STATUSES:
            raise InvalidInput(f"no status {status[:40]!r}; expected one of {', '.join(STATUSES)}")
        if after is not None:
            self.get(after)
        with self._database.read() as tx:
            jobs = self._rows.page(tx, status=status, model=model, after=after, limit=limit + 1)
        return jobs[:limit], len(jobs) > limit

    def history(self, job_id: str) -> list[JSONObject]:
        """One row an epoch, oldest first. Raises `NotFound`."""
        with self._database.read() as tx:
            self._found(tx, job_id)
            return self._rows.history(tx, job_id)

    def events(self, job_id: str, *, after: int, limit: int) -> tuple[list[JobEvent], Job]:
        """The events behind number `after`, and the job as it was when they were read. Raises `NotFound`."""
        with self._database.read() as tx:
            job = self._found(tx, job_id)
            return self._rows.events(tx, job_id, after=after, limit=limit), job

    def cancel(self, job_id: str) -> Job:
        """Ends a queued job at once and a running one soon. Raises `NotFound`, `Conflict`."""
        self.get(job_id)
        with self._database.write() as tx:
            job = self._rows.cancel(tx, job_id)
        if job is None:
            raise Conflict(f"the job is {self.get(job_id).status}; only a queued or running job can be cancelled")
        self._dispatcher.wake(job_id)
        return job

    def delete(self, job_id: str) -> None:
        """Takes an ended job away; the model version that it made stays. Raises `NotFound`, `Conflict`."""
        self.get(job_id)
        with self._database.write() as tx:
            deleted = self._rows.delete(tx, job_id)
        if not deleted:
            raise Conflict(f"the job is {self.get(job_id).status}; cancel it first, only an ended job can be deleted")

    def _found(self, tx: Transaction, job_id: str) -> Job:
        job = self._rows.get(tx, job_id)
        if job is None:
            raise NotFound(f"there is no job {job_id[:80]!r}; GET /jobs lists those that there are")
        return job

    def counts(self) -> dict[str, int]:
        """How many jobs are in each state."""
        with self._database.read() as tx:
            return self._rows.counts(tx)
