"""uvicorn, told to say not-ready before it stops to listen."""

from __future__ import annotations

import time
from types import FrameType

import uvicorn

from service.wiring import Service

KEEP_ALIVE_SECONDS = 15


class Server(uvicorn.Server):
    """At the first SIGTERM or SIGINT readiness turns to 503 and event streams end; after the drain time the sockets
    close, requests in flight finish, and jobs go back to the queue. A second SIGINT does not wait.
    """

    def __init__(self, service: Service) -> None:
        settings = service.settings
        super().__init__(
            uvicorn.Config(
                service.app,
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=max(1, round(settings.grace_seconds)),
            )
        )
        self._closing = service.closing
        self._drain_seconds = settings.drain_seconds
        self._leave_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._leave_at is None:
            self._closing.set()
            self._leave_at = time.monotonic() + self._drain_seconds
        else:
            self.should_exit = True
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if self._leave_at is not None and time.monotonic() >= self._leave_at:
            self.should_exit = True
        return await super().on_tick(counter)
