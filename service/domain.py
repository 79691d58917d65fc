"""Jobs, their states, and versions of models: plain values without I/O.

Times are seconds since 1970 in UTC, by the clock of the database.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from service.errors import InvalidInput, NotFound

JSONObject = dict[str, Any]

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
NAME_RULE = "lower-case letters, digits, '-' and '_', beginning with a letter or digit, at most 64"
LATEST = "latest"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return not TRANSITIONS[self]


TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED, JobState.FAILED}),
    # Back to queued when its process or its server was lost, or the server shuts down.
    JobState.RUNNING: frozenset({JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset(),
    JobState.CANCELLED: frozenset(),
}

# What a client sees: the states, and `cancelling` while a running job has not yet heard that it is to end.
CANCELLING = "cancelling"
STATUSES = (*(state.value for state in JobState), CANCELLING)


def sources(target: JobState) -> tuple[JobState, ...]:
    """The states from which a job may come to `target`."""
    return tuple(state for state, targets in TRANSITIONS.items() if target in targets)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training job as its row tells it.

    `spec` is the run's whole description as JSON; `attempt` counts the runs begun; `token` is that of the last claim.
    """

    id: str
    state: JobState
    dataset: str
    model: str
    spec: JSONObject
    metadata: JSONObject
    created_at: float
    started_at: float | None
    finished_at: float | None
    updated_at: float
    attempt: int
    token: int
    cancel_requested: bool
    progress: JSONObject
    error: JSONObject | None
    result: JSONObject | None

    @property
    def status(self) -> str:
        return CANCELLING if self.state is JobState.RUNNING and self.cancel_requested else self.state.value

    @property
    def estimated_finish(self) -> float | None:
        """When a running job would end if it did all its epochs at the present speed; None until one is done."""
        seconds = self.progress.get("seconds_per_epoch")
        if self.state is not JobState.RUNNING or seconds is None:
            return None
        return float(self.updated_at + seconds * self.progress["epochs"] * (1 - self.progress["percent"] / 100))


@dataclass(frozen=True, kw_only=True)
class JobEvent:
    """One entry of a job's numbered sequence; `number` counts from 1."""

    number: int
    type: str
    created_at: float
    data: JSONObject


@dataclass(frozen=True, kw_only=True)
class ModelVersion:
    """One version of a model; never changes once it is published.

    `path` is where its artifact lies in the artifact store; `info` is what the artifact tells of itself.
    """

    name: str
    version: int
    job: str | None
    path: str
    sha256: str
    size: int
    created_at: float
    info: JSONObject
    aliases: tuple[str, ...] = field(default=())


@dataclass(frozen=True, kw_only=True)
class VersionRow:
    """That a number is taken. Without a path it was given to a run that has not published yet, perhaps never will."""

    name: str
    version: int
    path: str | None
    visible: bool


@dataclass(frozen=True, kw_only=True)
class AliasMove:
    """An entry of the log of an alias; no version means that it was taken away."""

    alias: str
    version: int | None
    moved_at: float


@dataclass(frozen=True)
class ModelReference:
    """`name`, `name@3` or `name@champion`, taken apart. Without a part behind the `@` it means the latest version."""

    name: str
    version: int | None = None
    alias: str = LATEST

    @classmethod
    def parse(cls, text: str) -> ModelReference:
        name, at, pick = text.partition("@")
        check_name(name)
        if not at:
            return cls(name)
        if pick.isascii() and pick.isdigit():
            if len(pick) > 9:
                raise NotFound(f"there is no {text[:80]}")
            return cls(name, version=int(pick))
        check_alias(pick)
        return cls(name, alias=pick)

    def __str__(self) -> str:
        return f"{self.name}@{self.alias if self.version is None else self.version}"


def check_name(name: str) -> None:
    """Raises `InvalidInput` unless `name` can name a model. Names become paths, so nothing else is let through."""
    if not NAME.fullmatch(name):
        raise InvalidInput(f"{name[:80]!r} cannot name a model: {NAME_RULE}")


def check_alias(alias: str) -> None:
    """Raises `InvalidInput` unless `alias` can name an alias: as a model's name, and not a number."""
    if not NAME.fullmatch(alias) or alias.isdigit():
        raise InvalidInput(f"{alias[:80]!r} cannot name an alias: {NAME_RULE}, and not a number alone")
