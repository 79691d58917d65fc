"""`/jobs`: submit, list, follow, cancel, delete."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from nn.schema import parse
from service.api import schemas
from service.api.bodies import JSON_TYPE, content_type
from service.api.context import Context, Here
from service.errors import InvalidInput, NotFound
from service.jobs import JobRequest
from service.json_input import parse_json

router = APIRouter(tags=["jobs"])

POLL_SECONDS = 0.2
KEEP_ALIVE_SECONDS = 15.0
STREAM_BLOCK = 500

Limit = Annotated[int, Query(ge=1, le=100)]
After = Annotated[int, Query(ge=0, le=2**31, description="events behind this number")]


@router.post(
    "/jobs",
    status_code=202,
    response_model=schemas.Job,
    openapi_extra=schemas.body({JSON_TYPE: {"schema": schemas.JOB_REQUEST}}),
)
async def submit(
    request: Request,
    response: Response,
    here: Here,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> Any:
    """Starts a training job in the background."""
    content_type(request, JSON_TYPE)
    data = await request.body()
    # Reading a large document takes a while, which the event loop does not have.
    job = await run_in_threadpool(lambda: here.jobs.submit(parse(JobRequest, parse_json(data)), key=idempotency_key))
    response.headers["Location"] = f"/jobs/{job.id}"
    return schemas.Job.of(job)


@router.get("/jobs", response_model=schemas.JobList)
def page(
    here: Here, status: str | None = None, model: str | None = None, after: str | None = None, limit: Limit = 20
) -> Any:
    """Jobs, newest first; `after` is the id of the last one that was read."""
    jobs, has_more = here.jobs.page(status=status, model=model, after=after, limit=limit)
    return schemas.JobList(data=[schemas.Job.of(job) for job in jobs], has_more=has_more)


@router.get("/jobs/{job_id}", response_model=schemas.Job)
def get(job_id: str, here: Here) -> Any:
    """One job with its progress."""
    return schemas.Job.of(here.jobs.get(job_id))


@router.get("/jobs/{job_id}/history", response_model=schemas.History)
def history(job_id: str, here: Here) -> Any:
    """Loss and metrics by epoch."""
    return schemas.History(epochs=here.jobs.history(job_id))


@router.post("/jobs/{job_id}/cancel", response_model=schemas.Job)
def cancel(job_id: str, here: Here) -> Any:
    """Ends a queued job at once and a running one soon."""
    return schemas.Job.of(here.jobs.cancel(job_id))


@router.delete("/jobs/{job_id}", status_code=204)
def delete(job_id: str, here: Here) -> Response:
    """Takes an ended job away; the model version that it made stays."""
    here.jobs.delete(job_id)
    return Response(status_code=204)


@router.get(
    "/jobs/{job_id}/events",
    response_model=schemas.EventList,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def events(
    request: Request,
    job_id: str,
    here: Here,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    wait: Annotated[float, Query(ge=0, le=60, description="seconds to wait for an event behind `after`")] = 0,
) -> Any:
    """What happened to a job, numbered: as JSON, as a long poll, or (`Accept: text/event-stream`) as they come."""
    if "text/event-stream" in request.headers.get("accept", ""):
        after = _last_event_id(request, after)
        await run_in_threadpool(here.jobs.get, job_id)
        return StreamingResponse(
            _stream(here, job_id, after), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )
    deadline = time.monotonic() + wait
    while True:
        found, job = await run_in_threadpool(here.jobs.events, job_id, after=after, limit=limit + 1)
        # An ended job has nothing more to tell: nobody need wait for it.
        if found or job.state.is_final or time.monotonic() >= deadline or here.closing.is_set():
            listed = [schemas.Event.of(event) for event in found[:limit]]
            return schemas.EventList(data=listed, has_more=len(found) > limit)
        await asyncio.sleep(POLL_SECONDS)


def _last_event_id(request: Request, after: int) -> int:
    given = request.headers.get("last-event-id")
    if given is None:
        return after
    if not (given.isascii() and given.isdigit()):
        raise InvalidInput(f"Last-Event-ID: expected the number of an event; got {given[:40]!r}")
    return int(given[:10])


async def _stream(here: Context, job_id: str, after: int) -> AsyncIterator[bytes]:
    """Server-sent events until the job has ended and all is told, or the server shuts down."""
    told = time.monotonic()
    while True:
        try:
            found, job = await run_in_threadpool(here.jobs.events, job_id, after=after, limit=STREAM_BLOCK)
        except NotFound:
            return  # it was deleted meanwhile; the answer has begun, so there is no 404 to give any more
        for event in found:
            after = event.number
            data = orjson.dumps(schemas.Event.of(event).model_dump(mode="json"))
            yield b"id: %d\nevent: %s\ndata: %s\n\n" % (event.number, event.type.encode(), data)
        if found:
            told = time.monotonic()
            if len(found) == STREAM_BLOCK:
                continue
        if job.state.is_final or here.closing.is_set():
            return
        if time.monotonic() - told > KEEP_ALIVE_SECONDS:
            told = time.monotonic()
            yield b": still here\n\n"
        await asyncio.sleep(POLL_SECONDS)
