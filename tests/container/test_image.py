"""Containers of the image that TRAINSERVE_TEST_IMAGE names; without it there is nothing to test."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator

import httpx
import pytest

from service.client import Client

IMAGE = os.environ.get("TRAINSERVE_TEST_IMAGE", "")
ENGINE = os.environ.get("TRAINSERVE_TEST_ENGINE", "docker")
STATE = "/var/lib/trainserve"
HARDENED = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")

pytestmark = pytest.mark.skipif(not IMAGE, reason="TRAINSERVE_TEST_IMAGE names no image")


def engine(*arguments: str) -> str:
    return subprocess.run([ENGINE, *arguments], check=True, capture_output=True, text=True).stdout.strip()


def until(happened: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


class Container:
    """A service in a container of its own."""

    def __init__(self, *options: str) -> None:
        self.id = engine("run", "--detach", "--publish", "127.0.0.1:0:8000", *options, IMAGE)

    def find(self) -> None:
        """Waits until the service is ready, at whatever port it is published now."""
        self.url = f"http://{engine('port', self.id, '8000/tcp').splitlines()[0]}"
        until(self.ready)

    def ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready", trust_env=False).is_success
        except httpx.TransportError:
            assert self.state("{{.State.Running}}") == "true", engine("logs", self.id)
            return False

    def state(self, form: str) -> str:
        return engine("inspect", "--format", form, self.id)


@pytest.fixture
def volume() -> Iterator[str]:
    name = f"trainserve-test-{uuid.uuid4()}"
    engine("volume", "create", name)
    yield name
    engine("volume", "rm", name)


@pytest.fixture
def start(volume: str) -> Iterator[Callable[..., Container]]:
    """Starts a hardened container on the test's volume; none is left behind."""
    containers = []

    def started(*options: str) -> Container:
        container = Container("--volume", f"{volume}:{STATE}", *HARDENED, *options)
        containers.append(container)
        container.find()
        return container

    yield started
    for container in containers:
        engine("rm", "--force", "--volumes", container.id)


def test_it_predicts_trains_and_keeps_what_it_made(start: Callable[..., Container]) -> None:
    first = start()
    with Client(first.url) as client:
        picture = httpx.get(
            f"{first.url}/models/mnist/example", headers={"Accept": "image/png"}, trust_env=False
        ).content
        assert client.predict_picture(picture)["predictions"][0]["label"] == 7
        assert client.wait(client.submit("heart")["id"])["result"]["version"] == 2
    engine("stop", first.id)
    assert first.state("{{.State.ExitCode}}") == "0"

    with Client(start().url) as client:
        assert [version["version"] for version in client.model("heart")["versions"]] == [1, 2]


def test_it_becomes_healthy(start: Callable[..., Container]) -> None:
    container = start()
    until(lambda: container.state("{{.State.Health.Status}}") == "healthy")


def test_a_job_outlives_the_death_of_the_container(start: Callable[..., Container]) -> None:
    container = start()
    with Client(container.url) as client:
        job = client.submit("toy-regression", training={"epochs": 100_000, "early_stopping": None})["id"]
        until(lambda: client.job(job)["status"] == "running")
    engine("kill", container.id)
    engine("start", container.id)
    container.find()
    with Client(container.url) as client:
        until(lambda: client.job(job)["attempt"] == 2)
        assert client.job(job)["status"] == "running"
        client.cancel(job)
        assert client.wait(job)["status"] == "cancelled"


@pytest.mark.parametrize("options", [("--user", "54321"), ("--cpus", "1", "--memory", "256m")])
def test_it_starts(start: Callable[..., Container], options: tuple[str, ...]) -> None:
    start(*options)


def test_its_user_is_not_root_and_cannot_change_the_program(start: Callable[..., Container]) -> None:
    container = start()
    assert engine("exec", container.id, "id", "-u") == "10001"
    assert engine("exec", container.id, "find", "/opt/trainserve", "-writable") == ""
