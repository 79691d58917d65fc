"""`/models`: versions, artifacts, aliases, examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import orjson
from anyio import to_thread
from fastapi import APIRouter, Header, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from nn.features import PixelFeatures
from nn.schema import Range, json_schema, parse
from service.api import schemas
from service.api.bodies import JSON_TYPE, content_type
from service.api.context import Context, Here
from service.domain import ModelReference, ModelVersion
from service.errors import UnsupportedFormat
from service.inference.answer import example_picture
from service.inference.pictures import encode_png
from service.json_input import parse_json

router = APIRouter(tags=["models"])

NPZ_TYPE = "application/octet-stream"
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


@dataclass(frozen=True)
class AliasTarget:
    """Where an alias is to point."""

    version: Annotated[int, Range(minimum=1, maximum=2**31 - 1)]


@router.get("/models", response_model=schemas.ModelList)
def index(here: Here) -> Any:
    """Every model with its versions and aliases."""
    return schemas.ModelList(data=[schemas.Model.of(versions) for versions in here.registry.names().values()])


@router.get("/models/{name}", response_model=schemas.Model)
def get(name: str, here: Here) -> Any:
    """One model with its versions and aliases."""
    return schemas.Model.of(here.registry.versions(name))


@router.get("/models/{name}/versions/{version}", response_model=schemas.SummarizedVersion)
def version_of(name: str, version: Number, here: Here) -> Any:
    """One version: what goes in and comes out, how good it is, where it came from, and what it is made of."""
    return _summarized(here, here.registry.resolve(ModelReference(name, version=version)))


@router.get(
    "/models/{name}/versions/{version}/artifact",
    response_class=Response,
    responses={200: {"content": {NPZ_TYPE: {}}}, 304: {"description": "the client has it already"}},
)
def artifact(name: str, version: Number, here: Here, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """The `.npz` of a version; its `ETag` is the SHA-256."""
    found = here.registry.resolve(ModelReference(name, version=version))
    headers = {"ETag": f'"{found.sha256}"', "Cache-Control": "public, max-age=31536000, immutable"}
    if if_none_match is not None and (found.sha256 in if_none_match or if_none_match.strip() == "*"):
        return Response(status_code=304, headers=headers)
    headers["Content-Disposition"] = f'attachment; filename="{name}-{version}.npz"'
    return Response(here.registry.artifact(found), media_type=NPZ_TYPE, headers=headers)


@router.post(
    "/models/{name}/versions",
    status_code=201,
    response_model=schemas.SummarizedVersion,
    openapi_extra=schemas.body({NPZ_TYPE: {"schema": {"type": "string", "format": "binary"}}}),
)
async def upload(name: str, request: Request, response: Response, here: Here) -> Any:
    """Publishes an `.npz` that trainserve wrote as the next version."""
    # Whatever type is declared: the bytes themselves are judged.
    data = await request.body()
    version = await to_thread.run_sync(here.registry.publish, name, data, limiter=here.heavy)
    response.headers["Location"] = f"/models/{name}/versions/{version.version}"
    return _summarized(here, version)


def _summarized(here: Context, version: ModelVersion) -> schemas.SummarizedVersion:
    return schemas.SummarizedVersion.of_one(version, here.registry.summary(version))


@router.put(
    "/models/{name}/aliases/{alias}",
    response_model=schemas.ModelVersion,
    openapi_extra=schemas.body({JSON_TYPE: {"schema": json_schema(AliasTarget)}}),
)
async def set_alias(name: str, alias: str, request: Request, here: Here) -> Any:
    """Points an alias at a version; answers the version."""
    content_type(request, JSON_TYPE)
    data = await request.body()

    def move() -> ModelVersion:
        return here.registry.set_alias(name, alias, parse(AliasTarget, parse_json(data)).version)

    return schemas.ModelVersion.of(await run_in_threadpool(move))


@router.delete("/models/{name}/aliases/{alias}", status_code=204)
def delete_alias(name: str, alias: str, here: Here) -> Response:
    """Takes an alias away; its history stays."""
    here.registry.delete_alias(name, alias)
    return Response(status_code=204)


@router.get("/models/{name}/aliases/{alias}/history", response_model=schemas.AliasHistory)
def alias_history(name: str, alias: str, here: Here) -> Any:
    """Every move of an alias, newest first."""
    moves = here.registry.alias_history(name, alias)
    return schemas.AliasHistory(data=[schemas.AliasMove.of(move) for move in moves])


@router.get(
    "/models/{name}/example",
    response_class=Response,
    responses={200: {"content": {JSON_TYPE: {}, "image/png": {}}}},
)
def example(name: str, request: Request, here: Here) -> Response:
    """A body that `/predict` accepts for this model: JSON, or with `Accept: image/png` a picture."""
    metadata = here.predictor.model(here.registry.resolve(ModelReference.parse(name))).metadata
    accept = request.headers.get("accept", "*/*")
    if "image/png" in accept and JSON_TYPE not in accept:
        if not isinstance(metadata.features, PixelFeatures):
            raise UnsupportedFormat(f"the example of {name[:80]} is JSON: its inputs are not pictures")
        return Response(encode_png(example_picture(metadata)), media_type="image/png")
    return Response(orjson.dumps(metadata.example), media_type=JSON_TYPE)
