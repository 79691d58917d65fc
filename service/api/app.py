"""The application: routes, errors, middleware."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp

import nn
from service.api import jobs, models, operations, predict, problems
from service.api.context import Context
from service.api.metrics import Metrics
from service.api.middleware import LimitBody, Observe

App = ASGIApp


def create_app(context: Context, on_shutdown: Callable[[], None]) -> App:
    """The ASGI application over `context`; `on_shutdown` is called when the last request has been answered."""
    metrics = Metrics(context)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(on_shutdown)

    app = FastAPI(
        title="trainserve",
        summary="Trains neural networks written in NumPy and serves them.",
        version=nn.__version__,
        lifespan=lifespan,
        redirect_slashes=False,  # the address of such a redirect would be the client's own Host header
    )
    app.state.context = context
    app.state.metrics = metrics
    for room in (jobs, predict, models, operations):
        app.include_router(room.router)
    problems.install(app)
    app.add_middleware(LimitBody, max_bytes=context.settings.max_body)
    # Outside of everything, so that the answer to an error that nobody expected has its id too.
    return Observe(app, metrics)
