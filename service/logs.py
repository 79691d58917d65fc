"""Log lines: JSON events for machines, plain lines for a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

from pythonjsonlogger.json import JsonFormatter


class _Text(logging.Formatter):
    """One line: time, level, message, and the event's own fields."""

    STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}

    def format(self, record: logging.LogRecord) -> str:
        fields = {name: value for name, value in vars(record).items() if name not in self.STANDARD and name != "action"}
        told = " ".join(f"{name}={value}" for name, value in fields.items() if value is not None)
        return f"{super().format(record)} {told}".rstrip()


def configure(form: str, level: str, request_id: Callable[[], str | None]) -> None:
    """Sends all logging to standard error, as `form` says: `json`, `text`, or `auto` by whether it is a terminal."""
    handler = logging.StreamHandler(sys.stderr)
    if form == "json" or (form == "auto" and not sys.stderr.isatty()):
        handler.setFormatter(
            JsonFormatter(
                "%(levelname)s %(name)s %(message)s",
                timestamp=True,
                rename_fields={"levelname": "level", "name": "logger"},
                reserved_attrs=[*sorted(_Text.STANDARD - {"message"})],
            )
        )
    else:
        handler.setFormatter(_Text("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))

    def add_request_id(record: logging.LogRecord) -> bool:
        current = request_id()
        if current is not None:
            record.request_id = current
        return True

    handler.addFilter(add_request_id)
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    # Its access log would tell each request a second time; the migrations' words are for those who write them.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("alembic").setLevel(logging.WARNING)
