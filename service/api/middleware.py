"""Around every request: its id, its log line and its metrics, and the limit on its body."""

from __future__ import annotations

import logging
import re
import time
import uuid
from contextvars import ContextVar

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.metrics import Metrics
from service.errors import TooLarge

log = logging.getLogger("service.access")

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class Observe:
    """Takes over or makes the `X-Request-ID`, answers it, and tells log and metrics how the request went."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        name = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        token = request_id.set(name)
        started, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = name
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            # The framework has answered 500 and raises what it did not expect: here its log line still has the id.
            log.exception("request broke", extra={"action": "request_broke", "path": scope["path"]})
        finally:
            seconds = time.perf_counter() - started
            # The route's pattern and not the path: what clients make up must not become metrics.
            route = getattr(scope.get("route"), "path", "unmatched")
            self._metrics.observe(scope["method"], route, status, seconds)
            # Probes come every few seconds, and tell something only when they fail.
            level = logging.DEBUG if route.startswith("/health/") and status == 200 else logging.INFO
            log.log(
                level,
                "request",
                extra={
                    "action": "request",
                    "method": scope["method"],
                    "path": scope["path"],
                    "status": status,
                    "milliseconds": round(seconds * 1000, 2),
                },
            )
            request_id.reset(token)


class LimitBody:
    """Raises `TooLarge` once a body is larger than the limit: by what it declares, else by counting what comes."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        too_large = declared.isascii() and declared.isdigit() and int(declared[:20]) > self._max_bytes
        received = 0

        async def limited() -> Message:
            nonlocal received
            if too_large:
                raise TooLarge(
                    f"expected a body of at most {self._max_bytes:,} bytes; {int(declared[:20]):,} are declared"
                )
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise TooLarge(f"expected a body of at most {self._max_bytes:,} bytes; more came")
            return message

        await self._app(scope, limited, send)
