"""The rows of jobs, their history and their events."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, literal, select, update

from service.domain import CANCELLING, Job, JobEvent, JobState, JSONObject, sources
from service.store.tables import job, job_epoch, job_event, now

FINAL = tuple(state for state in JobState if state.is_final)
COLUMNS = [
    column
    for column in job.columns
    if column.name not in ("sequence", "idempotency_key", "request_digest", "lease_until", "event_count")
]


def _job(row: Row[Any]) -> Job:
    values = dict(row._mapping)
    return Job(**{**values, "state": JobState(values["state"])})


class SqlJobRows:
    """Jobs in SQL, for those who ask and for those who run them."""

    # For those who ask

    def add(
        self,
        tx: Connection,
        *,
        dataset: str,
        model: str,
        spec: JSONObject,
        metadata: JSONObject,
        progress: JSONObject,
        key: str | None,
        digest: str,
    ) -> Job:
        values = {
            "id": str(uuid.uuid4()),
            "state": JobState.QUEUED,
            "dataset": dataset,
            "model": model,
            "spec": spec,
            "metadata": metadata,
            "progress": progress,
            "idempotency_key": key,
            "request_digest": digest,
            "created_at": now(),
            "updated_at": now(),
            "attempt": 0,
            "token": 0,
            "cancel_requested": False,
            "event_count": 0,
        }
        added = _job(tx.execute(insert(job).values(values).returning(*COLUMNS)).one())
        self._log_status(tx, added)
        return added

    def get(self, tx: Connection, job_id: str) -> Job | None:
        row = tx.execute(select(*COLUMNS).where(job.c.id == job_id)).one_or_none()
        return None if row is None else _job(row)

    def by_key(self, tx: Connection, key: str) -> tuple[Job, str] | None:
        found = tx.execute(select(job.c.id, job.c.request_digest).where(job.c.idempotency_key == key)).one_or_none()
        if found is None:
            return None
        known = self.get(tx, found.id)
        assert known is not None
        return known, found.request_digest

    def page(
        self, tx: Connection, *, status: str | None, model: str | None, after: str | None, limit: int
    ) -> list[Job]:
        query = select(*COLUMNS).order_by(job.c.sequence.desc()).limit(limit)
        if status == CANCELLING:
            query = query.where(job.c.state == JobState.RUNNING, job.c.cancel_requested)
        elif status is not None:
            query = query.where(job.c.state == status)
            if status == JobState.RUNNING:
                query = query.where(~job.c.cancel_requested)
        if model is not None:
            query = query.where(job.c.model == model)
        if after is not None:
            query = query.where(job.c.sequence < select(job.c.sequence).where(job.c.id == after).scalar_subquery())
        return [_job(row) for row in tx.execute(query)]

    def cancel(self, tx: Connection, job_id: str) -> Job | None:
        ended = self._change(
            tx, and_(job.c.id == job_id, job.c.state == JobState.QUEUED), JobState.CANCELLED, finished_at=now()
        )
        if ended is not None:
            return ended
        row = tx.execute(
            update(job)
            .where(job.c.id == job_id, job.c.state == JobState.RUNNING, ~job.c.cancel_requested)
            .values(cancel_requested=True, updated_at=now())
            .returning(*COLUMNS)
        ).one_or_none()
        if row is not None:
            self._log_status(tx, _job(row))
        known = self.get(tx, job_id)
        return known if known is not None and known.state is JobState.RUNNING else None

    def delete(self, tx: Connection, job_id: str) -> bool:
        gone = tx.execute(delete(job).where(job.c.id == job_id, job.c.state.in_(FINAL)))
        if not gone.rowcount:
            return False
        for table in (job_epoch, job_event):
            tx.execute(delete(table).where(table.c.job_id == job_id))
        return True

    def history(self, tx: Connection, job_id: str) -> list[JSONObject]:
        query = select(job_epoch.c.metrics).where(job_epoch.c.job_id == job_id).order_by(job_epoch.c.epoch)
        return list(tx.scalars(query))

    def events(self, tx: Connection, job_id: str, *, after: int, limit: int) -> list[JobEvent]:
        query = (
            select(job_event.c.number, job_event.c.type, job_event.c.created_at, job_event.c.data)
            .where(job_event.c.job_id == job_id, job_event.c.number > after)
            .order_by(job_event.c.number)
            .limit(limit)
        )
        return [JobEvent(**row._mapping) for row in tx.execute(query)]

    def counts(self, tx: Connection) -> dict[str, int]:
        found = {row.state: row.n for row in tx.execute(select(job.c.state, func.count().label("n")).group_by("state"))}
        return {state.value: found.get(state.value, 0) for state in JobState}

    # For those who run them

    def oldest_queued(self, tx: Connection, *, excluding: Collection[str]) -> str | None:
        query = select(job.c.id).where(job.c.state == JobState.QUEUED).order_by(job.c.sequence).limit(1)
        if excluding:
            query = query.where(job.c.id.not_in(excluding))
        found: str | None = tx.scalar(query)
        return found

    def claim(self, tx: Connection, job_id: str, *, lease: float) -> Job | None:
        claimed = self._change(
            tx,
            and_(job.c.id == job_id, ~job.c.cancel_requested),
            JobState.RUNNING,
            token=job.c.token + 1,
            attempt=job.c.attempt + 1,
            lease_until=now() + lease,
            started_at=func.coalesce(job.c.started_at, now()),
        )
        if claimed is not None:
            # The run begins again from the start; its history does too.
            tx.execute(delete(job_epoch).where(job_epoch.c.job_id == job_id))
        return claimed

    def heartbeat(self, tx: Connection, claimed: Job, *, lease: float, progress: JSONObject) -> bool:
        cancel_requested = tx.scalar(
            update(job)
            .where(_owned(claimed))
            .values(lease_until=now() + lease, progress=progress, updated_at=now())
            .returning(job.c.cancel_requested)
        )
        return cancel_requested is False

    def record_epochs(self, tx: Connection, claimed: Job, rows: Sequence[JSONObject]) -> None:
        last = self._number(tx, _owned(claimed), len(rows))
        if last is None:
            return
        numbers = [row["epoch"] for row in rows]
        tx.execute(
            delete(job_epoch).where(
                job_epoch.c.job_id == claimed.id, job_epoch.c.epoch.between(min(numbers), max(numbers))
            )
        )
        tx.execute(insert(job_epoch), [{"job_id": claimed.id, "epoch": row["epoch"], "metrics": row} for row in rows])
        first, created_at = last - len(rows) + 1, tx.scalar(select(now()))
        common = {"job_id": claimed.id, "type": "epoch", "created_at": created_at}
        tx.execute(
            insert(job_event), [{**common, "number": first + index, "data": row} for index, row in enumerate(rows)]
        )

    def finish(
        self,
        tx: Connection,
        claimed: Job,
        state: JobState,
        *,
        error: JSONObject | None = None,
        result: JSONObject | None = None,
    ) -> bool:
        where = _owned(claimed)
        values: dict[str, Any] = {"error": error, "result": result, "finished_at": now(), "lease_until": None}
        if state is JobState.SUCCEEDED:
            where = and_(where, ~job.c.cancel_requested)
            row = tx.execute(select(job.c.progress).where(where)).one_or_none()
            values["progress"] = {**(row.progress if row else {}), "percent": 100.0}
        return self._change(tx, where, state, **values) is not None

    def requeue(self, tx: Connection, claimed: Job, *, counts: bool) -> bool:
        where = and_(_owned(claimed), ~job.c.cancel_requested)
        attempt = job.c.attempt if counts else job.c.attempt - 1
        return self._change(tx, where, JobState.QUEUED, lease_until=None, attempt=attempt) is not None

    def recover(self, tx: Connection, *, max_attempts: int, expired_only: bool) -> list[Job]:
        lost = and_(job.c.state == JobState.RUNNING, job.c.lease_until < now() if expired_only else literal(True))
        reason = "the server or worker that ran the job was lost"
        error = {"code": "worker_lost", "message": f"{reason}, {max_attempts} times in all"}
        changes: tuple[tuple[ColumnElement[bool], JobState, dict[str, Any]], ...] = (
            (job.c.cancel_requested, JobState.CANCELLED, {"finished_at": now()}),
            (job.c.attempt >= max_attempts, JobState.FAILED, {"finished_at": now(), "error": error}),
            (literal(True), JobState.QUEUED, {}),
        )
        recovered = []
        for condition, state, values in changes:
            ids = tx.scalars(select(job.c.id).where(lost, condition)).all()
            for job_id in ids:
                # The token goes on, so that a run that was only thought lost cannot write any more.
                changed = self._change(
                    tx, and_(job.c.id == job_id, lost), state, token=job.c.token + 1, lease_until=None, **values
                )
                if changed is not None:
                    recovered.append(changed)
        return recovered

    def _change(self, tx: Connection, where: ColumnElement[bool], target: JobState, **values: Any) -> Job | None:
        """Moves the one job that `where` tells to `target`, if the table of transitions allows it, and logs it."""
        row = tx.execute(
            update(job)
            .where(where, job.c.state.in_(sources(target)))
            .values(state=target, updated_at=now(), **values)
            .returning(*COLUMNS)
        ).one_or_none()
        if row is None:
            return None
        changed = _job(row)
        self._log_status(tx, changed)
        return changed

    def _log_status(self, tx: Connection, changed: Job) -> None:
        data: JSONObject = {"status": changed.status, "attempt": changed.attempt}
        data |= {name: value for name in ("error", "result") if (value := getattr(changed, name)) is not None}
        number = self._number(tx, job.c.id == changed.id, 1)
        tx.execute(
            insert(job_event).values(job_id=changed.id, number=number, type="status", created_at=now(), data=data)
        )

    def _number(self, tx: Connection, where: ColumnElement[bool], count: int) -> int | None:
        """The last of so many new event numbers of a job; None where `where` tells no job."""
        last: int | None = tx.scalar(
            update(job).where(where).values(event_count=job.c.event_count + count).returning(job.c.event_count)
        )
        return last


def _owned(claimed: Job) -> ColumnElement[bool]:
    return and_(job.c.id == claimed.id, job.c.token == claimed.token, job.c.state == JobState.RUNNING)
