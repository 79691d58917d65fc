"""What the integration tests share: a real server in a process of its own, and ways to wait for what it does."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

T = TypeVar("T")
JSON = dict[str, Any]

REPOSITORY = Path(__file__).parents[2]
PROBLEM = "application/problem+json"
ENDED = ("succeeded", "failed", "cancelled")
STREAM = {"Accept": "text/event-stream"}
# A job that goes on until somebody ends it, with an epoch every quarter of a second or so.
ENDLESS: JSON = {
    "dataset": "mnist",
    "network": {"layers": [{"type": "dense", "units": 8}, {"type": "relu"}, {"type": "dense", "units": 10}]},
    "training": {"epochs": 100_000, "batch_size": 500, "early_stopping": None},
}


def until(found: Callable[[], T | None], what: str, seconds: float = 30) -> T:
    """The first value that is not empty; fails the test where none came in time."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what}")
        time.sleep(0.02)
    return value


def environment(**settings: object) -> dict[str, str]:
    """This process's environment with these settings and no others of trainserve, and no proxy between."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TRAINSERVE_") and not name.lower().endswith("_proxy")
    }
    given = {f"TRAINSERVE_{name.upper()}": str(value) for name, value in settings.items()}
    return kept | given | {"PYTHONPATH": str(REPOSITORY)}


class Server:
    """A server with its state below `home`; it may be stopped, killed and started again there."""

    def __init__(self, home: Path, pretrained: Path, **settings: object) -> None:
        self.home = home
        self.models = home / "models"
        self.log = home / "server.log"
        self.environment = environment(
            **{
                "database_url": f"sqlite:///{home / 'state' / 'trainserve.db'}",
                "artifacts_url": self.models,
                "pretrained": pretrained,
                "log_format": "json",
                "drain_seconds": 0,
                **settings,
            }
        )
        self.process: subprocess.Popen[bytes]
        self.url = ""
        self.http = httpx.Client()

    def start(self) -> Self:
        begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service.main", "serve", "--port", "0"],
                env=self.environment,
                cwd=self.home,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

        def listening() -> str | None:
            told = self.log.read_text()[begin:]
            if self.process.poll() is not None:
                pytest.fail(f"the server ended with {self.process.returncode}: {told[-2000:]}")
            found = re.search(r"running on (http://[\d.]+:\d+)", told)
            return found[1] if found else None

        self.url = until(listening, "the server listens")
        self.http = httpx.Client(base_url=self.url, timeout=30, trust_env=False)
        return self

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self, seconds: float = 20) -> int:
        """Waits for the process to end and returns its exit code."""
        self.http.close()
        return self.process.wait(seconds)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        try:
            return self.ended()
        finally:
            self.process.kill()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.ended()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *reason: object) -> None:
        self.stop()

    def children(self) -> list[int]:
        """The training processes."""
        return children_of(self.process.pid)


def children_of(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it has just ended
            continue
        if int(parent) == pid and state != "Z":
            found.append(int(stat.parent.name))
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def submit(http: httpx.Client, dataset: str = "toy-regression", **body: Any) -> JSON:
    response = http.post("/jobs", json={"dataset": dataset, **body})
    assert response.status_code == 202, response.text
    job: JSON = response.json()
    return job


def get(http: httpx.Client, path: str, **params: Any) -> Any:
    response = http.get(path, params=params)
    assert response.status_code == 200, response.text
    return response.json()


def wait(http: httpx.Client, job_id: str, *statuses: str, seconds: float = 30) -> JSON:
    """The job once it has one of these statuses, or has ended."""
    wanted = statuses or ENDED

    def look() -> JSON | None:
        job: JSON = get(http, f"/jobs/{job_id}")
        if job["status"] in ENDED and job["status"] not in wanted:
            pytest.fail(f"the job is {job['status']}, not {wanted}: {job['error']}")
        return job if job["status"] in wanted else None

    return until(look, f"the job is {' or '.join(wanted)}", seconds)


def cancel(http: httpx.Client, job_id: str) -> None:
    """Ends a job that has not ended, and waits for its end."""
    http.post(f"/jobs/{job_id}/cancel")
    wait(http, job_id)


def newest(http: httpx.Client, name: str) -> int:
    """The number of a model's newest version; 0 where there is none."""
    response = http.get(f"/models/{name}")
    return 0 if response.status_code == 404 else int(response.json()["versions"][-1]["version"])


def logged(server: Server, request_id: str) -> JSON:
    """The line of the log that tells how a request went; it is written once the answer has gone out."""

    def look() -> JSON | None:
        for line in server.log.read_text().splitlines():
            if request_id in line and (told := json.loads(line)).get("action") == "request":
                found: JSON = told
                return found
        return None

    return until(look, "the request is logged")


@contextmanager
def nothing_left_behind(server: Server) -> Iterator[None]:
    """Fails if a job, a version or a file is there afterwards that was not there before."""

    def present() -> tuple[object, object, object]:
        newest_job = get(server.http, "/jobs", limit=1)["data"]
        return [job["id"] for job in newest_job], get(server.http, "/models"), sorted(server.models.rglob("*"))

    before = present()
    yield
    assert present() == before


def is_problem(response: httpx.Response, status: int, *words: str) -> JSON:
    """Asserts that the answer is a whole problem document with this status, whose detail has these words."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == PROBLEM
    body: JSON = response.json()
    assert body["status"] == status
    assert body["type"].startswith("/problems/")
    assert body["title"]
    assert body["instance"] == response.request.url.path
    assert len(body["detail"]) > 10
    for word in words:
        assert word in response.text, response.text
    for secret in (str(REPOSITORY), "Traceback", "site-packages", "sqlite"):
        assert secret not in response.text
    return body


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """A picture as a file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def npy(array: NDArray[Any], **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def ask(http: httpx.Client, body: bytes, kind: str = "application/json", **params: Any) -> httpx.Response:
    """Asks for a prediction with exactly this body."""
    return http.post("/predict", content=body, headers={"Content-Type": kind}, params=params)
