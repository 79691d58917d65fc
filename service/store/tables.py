"""The tables as they are now; `migrations/` says how they came to be. Times are seconds since 1970 in UTC."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from service.domain import JobState

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class now(FunctionElement[float]):  # noqa: N801  (an SQL function, named like one)
    """The database's own clock."""

    type = Float()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite_now(element: Any, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _postgresql_now(element: Any, compiler: Any, **options: Any) -> str:
    return "extract(epoch from clock_timestamp())"


job = Table(
    "job",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("dataset", String(64), nullable=False),
    Column("model", String(64), nullable=False),
    Column("spec", JSON, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("idempotency_key", String(255), unique=True),
    Column("request_digest", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("updated_at", Float, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("token", Integer, nullable=False),
    Column("lease_until", Float),
    Column("cancel_requested", Boolean, nullable=False),
    Column("progress", JSON, nullable=False),
    Column("error", JSON(none_as_null=True)),
    Column("result", JSON(none_as_null=True)),
    Column("event_count", Integer, nullable=False),
    CheckConstraint(f"state IN ({', '.join(repr(state.value) for state in JobState)})", name="state"),
    Index(None, "state", "sequence"),
    Index(None, "model", "sequence"),
    sqlite_autoincrement=True,  # a deleted job's number never comes back
)

job_epoch = Table(
    "job_epoch",
    metadata,
    Column("job_id", String(36), primary_key=True),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("metrics", JSON, nullable=False),
)

job_event = Table(
    "job_event",
    metadata,
    Column("job_id", String(36), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("type", String(16), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("data", JSON, nullable=False),
)

# A row without `published_at` is a number given out to a job that may still fail: nobody sees it, nobody else gets it.
# Nor is one seen that is `withdrawn`, because its artifact is gone.
# `job_id` names no row of `job`: a version outlives the job that made it.
model_version = Table(
    "model_version",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("job_id", String(36)),
    Column("path", String(255)),
    Column("sha256", String(64)),
    Column("size", Integer),
    Column("info", JSON(none_as_null=True)),
    Column("published_at", Float),
    Column("withdrawn", Boolean, nullable=False),
    UniqueConstraint("job_id"),
)

model_alias = Table(
    "model_alias",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("alias", String(64), primary_key=True),
    Column("version", Integer, nullable=False),
)

# Only ever added to.
alias_move = Table(
    "alias_move",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("name", String(64), nullable=False),
    Column("alias", String(64), nullable=False),
    Column("version", Integer),
    Column("moved_at", Float, nullable=False),
    Index(None, "name", "alias", "sequence"),
)
