"""`/health` and `/metrics`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from service.api.context import Here
from service.api.metrics import Metrics
from service.errors import ServiceError, Unavailable

router = APIRouter(tags=["operations"])


@router.get("/health/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "live"}


@router.get("/health/ready")
def ready(here: Here) -> dict[str, str]:
    """The database, the artifact store and the default model are there, and no shutdown has begun."""
    if here.closing.is_set():
        raise Unavailable("the service is shutting down")
    try:
        here.check()
    except ServiceError as error:
        raise Unavailable(f"not ready: {error.detail}") from error
    return {"status": "ready"}


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    told: Metrics = request.app.state.metrics
    return Response(told.text(), media_type="text/plain; version=0.0.4; charset=utf-8")
