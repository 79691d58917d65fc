"""What the API answers, and what the OpenAPI page says of the bodies that it takes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PlainSerializer

import nn
from nn.datasets import DATASETS
from nn.schema import json_schema
from nn.summary import Summary
from service import domain
from service.api.bodies import FORM_TYPE, JSON_TYPE, NPY_TYPE, PICTURE_TYPES


def rfc3339(seconds: float) -> str:
    """Seconds since 1970 as RFC 3339 in UTC, to the millisecond."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[float, PlainSerializer(rfc3339, return_type=str), Field(json_schema_extra={"format": "date-time"})]
JSONObject = dict[str, Any]


class Job(BaseModel):
    """A training job."""

    object: Literal["training.job"] = "training.job"
    id: str
    status: str = Field(json_schema_extra={"enum": list(domain.STATUSES)})
    dataset: str
    model: str
    created_at: Time
    started_at: Time | None
    finished_at: Time | None
    estimated_finish: Time | None
    progress: JSONObject
    attempt: int
    error: JSONObject | None
    result: JSONObject | None
    spec: JSONObject
    metadata: JSONObject

    @classmethod
    def of(cls, job: domain.Job) -> Job:
        return cls.model_validate(job, from_attributes=True)


class JobList(BaseModel):
    """Jobs, newest first."""

    object: Literal["list"] = "list"
    data: list[Job]
    has_more: bool


class History(BaseModel):
    """One row an epoch."""

    object: Literal["training.history"] = "training.history"
    epochs: list[JSONObject]


class Event(BaseModel):
    """One entry of a job's numbered sequence."""

    object: Literal["training.event"] = "training.event"
    id: int
    type: str
    created_at: Time
    data: JSONObject

    @classmethod
    def of(cls, event: domain.JobEvent) -> Event:
        return cls(id=event.number, type=event.type, created_at=event.created_at, data=event.data)


class EventList(BaseModel):
    """Events of a job, oldest first."""

    object: Literal["list"] = "list"
    data: list[Event]
    has_more: bool


class ModelVersion(BaseModel):
    """One version of a model."""

    name: str
    version: int
    created_at: Time
    job: str | None
    sha256: str
    size: int
    task: str
    inputs: JSONObject
    outputs: JSONObject
    metrics: JSONObject
    spec: JSONObject
    dataset: str
    dataset_sha256: str
    seed: int
    library_versions: JSONObject
    aliases: list[str]

    @classmethod
    def of(cls, version: domain.ModelVersion) -> ModelVersion:
        own = {name: getattr(version, name) for name in ("name", "version", "created_at", "job", "sha256", "size")}
        return cls(**own, **version.info, aliases=list(version.aliases))


class SummarizedVersion(ModelVersion):
    """One version of a model by itself, with what its network is made of."""

    summary: Summary

    @classmethod
    def of_one(cls, version: domain.ModelVersion, summary: Summary) -> SummarizedVersion:
        return cls(**dict(ModelVersion.of(version)), summary=summary)


class Model(BaseModel):
    """A model with its versions, oldest first, and what its aliases point at."""

    name: str
    aliases: dict[str, int]
    versions: list[ModelVersion]

    @classmethod
    def of(cls, versions: list[domain.ModelVersion]) -> Model:
        aliases = {alias: version.version for version in versions for alias in version.aliases}
        return cls(name=versions[0].name, aliases=aliases, versions=[ModelVersion.of(version) for version in versions])


class ModelList(BaseModel):
    """Every model."""

    object: Literal["list"] = "list"
    data: list[Model]


class AliasMove(BaseModel):
    """A move of an alias; no version where it was taken away."""

    alias: str
    version: int | None
    moved_at: Time

    @classmethod
    def of(cls, move: domain.AliasMove) -> AliasMove:
        return cls(alias=move.alias, version=move.version, moved_at=move.moved_at)


class AliasHistory(BaseModel):
    """The moves of an alias, newest first."""

    object: Literal["list"] = "list"
    data: list[AliasMove]


def _training_schema() -> JSONObject:
    # Every field may be left out: what the data set does well with takes its place.
    schema = json_schema(nn.TrainingSpec)
    properties = {
        name: {k: v for k, v in field.items() if k != "default"} for name, field in schema["properties"].items()
    }
    return {**{k: v for k, v in schema.items() if k != "required"}, "properties": properties}


JOB_REQUEST: JSONObject = {
    "type": "object",
    "required": ["dataset"],
    "additionalProperties": False,
    "properties": {
        "dataset": {"type": "string", "enum": list(DATASETS)},
        "model": {
            "type": "string",
            "pattern": f"^{domain.NAME.pattern}$",
            "description": "default: the data set's name",
        },
        "network": json_schema(nn.NetworkSpec),
        "training": _training_schema(),
        "metadata": {"type": "object", "description": "anything that the client wants to find again"},
    },
    "example": {"dataset": "mnist", "training": {"epochs": 3}},
}

_PICTURE = {"schema": {"type": "string", "format": "binary"}}
PREDICT_BODIES: JSONObject = {
    JSON_TYPE: {
        "schema": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "inputs": {"type": "array", "minItems": 1, "description": "rows of numbers; pictures in [0, 1]"},
                "records": {"type": "array", "minItems": 1, "items": {"type": "object"}, "description": "table rows"},
                "model": {"type": "string", "description": "name, name@version or name@alias"},
            },
        },
        "example": {"model": "toy-regression", "inputs": [[0.35], [0.7]]},
    },
    **dict.fromkeys(PICTURE_TYPES, _PICTURE),
    FORM_TYPE: {"schema": {"type": "object", "properties": {"image": {"type": "string", "format": "binary"}}}},
    NPY_TYPE: _PICTURE,
}


def body(content: JSONObject) -> JSONObject:
    """The part of an operation's description that tells of its body."""
    return {"requestBody": {"required": True, "content": content}}
