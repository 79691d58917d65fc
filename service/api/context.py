"""What the routes reach, and how."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, cast

from anyio import CapacityLimiter
from fastapi import Depends, Request

from service.inference.predictor import Predictor
from service.jobs import Jobs
from service.registry import Registry
from service.resources import cores
from service.settings import Settings


@dataclass(frozen=True)
class Context:
    """The use cases behind the API.

    `check` raises a `ServiceError` while something that the service needs is not there; `closing` is set from the first
    moment of a shutdown. `heavy` limits the threads that decode and multiply, so that health and jobs find one free.
    """

    settings: Settings
    jobs: Jobs
    registry: Registry
    predictor: Predictor
    check: Callable[[], None]
    closing: threading.Event
    heavy: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(cores() + 1))


def context_of(request: Request) -> Context:
    return cast("Context", request.app.state.context)


Here = Annotated[Context, Depends(context_of)]
