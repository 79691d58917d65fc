from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from service import logs

log = logging.getLogger("service.test")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.getLogger("uvicorn.access").disabled
    root.handlers = []
    yield
    root.handlers, root.level, logging.getLogger("uvicorn.access").disabled = before


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines(written: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.splitlines()]


@pytest.mark.parametrize("form", ["json", "auto"])
def test_away_from_a_terminal_a_line_is_a_json_event(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(form, "info", lambda: "request-1")
    log.info("job %s", "started", extra={"action": "job_started", "job": "x", "reason": "línea\nzwei"})
    (line,) = lines(capsys.readouterr().err)
    assert datetime.fromisoformat(line.pop("timestamp")).tzinfo is not None
    assert line == {
        "level": "INFO",
        "logger": "service.test",
        "message": "job started",
        "action": "job_started",
        "job": "x",
        "reason": "línea\nzwei",
        "request_id": "request-1",
    }


def test_an_exception_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info", lambda: None)
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        log.exception("it broke")
    (line,) = lines(capsys.readouterr().err)
    assert "RuntimeError: broken" in line["exc_info"]
    assert "request_id" not in line


@pytest.mark.parametrize("form", ["text", "auto"])
def test_at_a_terminal_a_line_is_text_with_its_fields(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    logs.configure(form, "info", lambda: None)
    log.warning("job failed", extra={"action": "job_failed", "job": "x", "nothing": None})
    (line,) = terminal.getvalue().splitlines()
    assert line.endswith("WARNING job failed job=x")


@pytest.mark.parametrize(("level", "told"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_is_the_least_that_is_told(level: str, told: int, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", level, lambda: None)
    for write in (log.debug, log.info, log.warning, log.error):
        write("line")
    logging.getLogger("uvicorn.access").error("told already")
    assert len(lines(capsys.readouterr().err)) == told
