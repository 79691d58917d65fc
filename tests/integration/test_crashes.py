"""Kills, restarts and shutdowns in the midst of jobs: against real processes, and never a job that runs for ever."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.support import (
    ENDLESS,
    STREAM,
    Server,
    get,
    is_alive,
    is_problem,
    newest,
    submit,
    until,
    wait,
)

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the training processes in /proc")

NewServer = Callable[..., Server]
# A second or two: long enough to be in its midst when something happens, short enough to be waited for.
MEDIUM: dict[str, Any] = {"dataset": "toy-regression", "training": {"epochs": 800, "batch_size": 16}}


def statuses(http: httpx.Client, job_id: str) -> list[str]:
    """All that a job has gone through."""
    events = get(http, f"/jobs/{job_id}/events", limit=1000)["data"]
    assert [event["id"] for event in events] == list(range(1, len(events) + 1))
    return [event["data"]["status"] for event in events if event["type"] == "status"]


def in_its_midst(server: Server, job_id: str) -> int:
    """Waits until a job has done an epoch; returns the id of the process that trains."""
    until(lambda: get(server.http, f"/jobs/{job_id}/history")["epochs"], "the job has done an epoch")
    (child,) = server.children()
    return child


def has_begun_again(server: Server, job_id: str, attempt: int) -> Callable[[], bool]:
    return lambda: bool(get(server.http, f"/jobs/{job_id}")["attempt"] == attempt and server.children())


def test_a_killed_training_process_is_tried_again_and_at_last_fails_its_job(new_server: NewServer) -> None:
    server = new_server(max_attempts=2, slots=1)
    before = newest(server.http, "mnist")
    job = submit(server.http, **ENDLESS)["id"]
    os.kill(in_its_midst(server, job), signal.SIGKILL)
    until(has_begun_again(server, job, 2), "it runs again")
    assert statuses(server.http, job) == ["queued", "running", "queued", "running"]
    child = in_its_midst(server, job)
    epochs = [row["epoch"] for row in get(server.http, f"/jobs/{job}/history")["epochs"]]
    assert epochs == list(range(1, len(epochs) + 1)), "the history is that of the run that counts"

    os.kill(child, signal.SIGKILL)
    ended = wait(server.http, job, "failed")
    assert ended["error"]["code"] == "worker_died"
    assert "SIGKILL" in ended["error"]["message"]
    assert "attempt 2 of 2" in ended["error"]["message"]
    assert newest(server.http, "mnist") == before
    after = wait(server.http, submit(server.http, training={"epochs": 1})["id"], "succeeded")
    assert after["attempt"] == 1, "the next job is not held up"


class TestTheServerIsKilled:
    def test_its_job_is_queued_again_and_no_process_stays(self, new_server: NewServer) -> None:
        server = new_server()
        job = submit(server.http, **MEDIUM)["id"]
        waiting = submit(server.http, training={"epochs": 1})["id"]
        child = in_its_midst(server, job)
        server.kill()
        until(lambda: not is_alive(child), "the training process has left", 5)

        server.start()
        assert wait(server.http, job, "succeeded")["attempt"] == 2
        assert statuses(server.http, job) == ["queued", "running", "queued", "running", "succeeded"]
        assert wait(server.http, waiting, "succeeded")["status"] == "succeeded"
        results = [get(server.http, f"/jobs/{job_id}")["result"]["version"] for job_id in (job, waiting)]
        assert sorted(results) == [2, 3]
        assert get(server.http, "/models/toy-regression")["aliases"] == {"latest": 3}

    def test_again_and_again_and_the_job_fails_with_that_reason(self, new_server: NewServer) -> None:
        server = new_server(max_attempts=2)
        job = submit(server.http, **ENDLESS)["id"]
        for attempt in (1, 2):
            until(has_begun_again(server, job, attempt), f"attempt {attempt} runs")
            server.kill()
            server.start()
        ended = wait(server.http, job, "failed")
        assert ended["error"]["code"] == "worker_lost"
        assert ended["finished_at"] is not None

    def test_what_was_to_be_cancelled_is_cancelled(self, new_server: NewServer) -> None:
        """The server dies after it has promised to cancel, while the training process does not heed it."""
        server = new_server()
        job = submit(server.http, **ENDLESS)["id"]
        child = in_its_midst(server, job)
        os.kill(child, signal.SIGSTOP)
        assert server.http.post(f"/jobs/{job}/cancel").json()["status"] == "cancelling"
        server.kill()
        os.kill(child, signal.SIGCONT)
        until(lambda: not is_alive(child), "the training process has left", 5)
        server.start()
        assert wait(server.http, job)["status"] == "cancelled"


class TestTheServerIsToldToStop:
    def test_it_says_so_at_once_and_its_job_goes_on_after_the_restart(self, new_server: NewServer) -> None:
        server = new_server(drain_seconds=1)
        job = submit(server.http, **ENDLESS)["id"]
        child = in_its_midst(server, job)
        with ThreadPoolExecutor(1) as pool, server.http.stream("GET", f"/jobs/{job}/events", headers=STREAM) as stream:
            rest = pool.submit(lambda: sum(1 for _ in stream.iter_lines()))
            server.signal(signal.SIGTERM)

            def not_ready() -> bool:
                return server.http.get("/health/ready").status_code == 503

            until(not_ready, "it is not ready any more", 1)
            is_problem(server.http.get("/health/ready"), 503, "shutting down")
            assert get(server.http, "/health/live") == {"status": "live"}
            assert server.http.post("/predict", json=get(server.http, "/models/mnist/example")).status_code == 200
            assert rest.result(5) > 0, "the stream ends and does not break"
        assert server.ended() == 0
        assert not is_alive(child)

        server.start()
        again = wait(server.http, job, "running")
        assert again["attempt"] == 1, "an attempt that the server ended itself does not count"
        assert statuses(server.http, job) == ["queued", "running", "queued", "running"]

    def test_it_ends_while_the_training_process_does_not_listen(self, new_server: NewServer) -> None:
        server = new_server()
        job = submit(server.http, **ENDLESS)["id"]
        child = in_its_midst(server, job)
        os.kill(child, signal.SIGSTOP)
        server.signal(signal.SIGINT)
        assert server.ended() == 0
        assert not is_alive(child)
        with closing(sqlite3.connect(server.home / "state" / "trainserve.db")) as database:
            assert database.execute("SELECT id, state, attempt FROM job").fetchall() == [(job, "queued", 0)]


def test_a_second_server_on_the_same_database_refuses_to_start(server: Server) -> None:
    command = [sys.executable, "-m", "service.main", "serve", "--port", "0"]
    second = subprocess.run(
        command, env=server.environment, cwd=server.home, capture_output=True, text=True, timeout=30
    )
    assert second.returncode == 2
    (line,) = second.stderr.splitlines()
    assert line.startswith("trainserve: another trainserve runs the jobs of this database; stop it, or set")
    assert second.stdout == ""
    assert get(server.http, "/health/ready") == {"status": "ready"}
