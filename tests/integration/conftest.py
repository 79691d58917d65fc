from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from nn import datasets
from nn.features import Raw
from tests.integration.support import ENDLESS, REPOSITORY, Server, cancel, get, nothing_left_behind, submit, wait

MAX_BODY = 2 * 2**20
MAX_SAMPLES = 1000


@pytest.fixture(scope="session", autouse=True)
def _no_proxies() -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The versions that ship, without what jobs may have added beside them."""
    place = tmp_path_factory.mktemp("pretrained")
    for version in (REPOSITORY / "models").glob("*/1"):
        shutil.copytree(version, place / version.parent.name / "1")
    return place


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, pretrained: Path) -> Iterator[Server]:
    """One server for all tests that give the models they make names of their own.

    It runs one job at a time. Once the tests are done, it must never have answered 5xx.
    """
    with Server(
        tmp_path_factory.mktemp("server"), pretrained, slots=1, max_body=MAX_BODY, max_samples=MAX_SAMPLES
    ) as server:
        yield server
        told = server.http.get("/metrics").text
        broken = [
            sample.labels
            for family in text_string_to_metric_families(told)
            for sample in family.samples
            if sample.labels.get("status", "").startswith("5")
        ]
        assert not broken
        shipped = [get(server.http, f"/models/{name}")["aliases"] for name in datasets.DATASETS]
        assert shipped == [{"latest": 1}] * 3, "a test has changed what the others work with"


@pytest.fixture(scope="session")
def http(server: Server) -> httpx.Client:
    return server.http


@pytest.fixture
def new_server(tmp_path: Path, pretrained: Path) -> Iterator[Callable[..., Server]]:
    """Makes a server of the test's own."""
    servers: list[Server] = []

    def make(**settings: object) -> Server:
        home = tmp_path / f"server-{len(servers)}"
        home.mkdir()
        servers.append(Server(home, pretrained, **settings).start())
        return servers[-1]

    yield make
    for server in servers:
        server.kill()


@pytest.fixture(scope="class")
def occupied(http: httpx.Client) -> Iterator[str]:
    """Keeps the one slot busy, so that whatever is submitted stays queued; the id of the job that does.

    For one test, or for a class of tests none of which needs a job to run.
    """
    job = submit(http, **ENDLESS)
    wait(http, job["id"], "running")
    yield job["id"]
    cancel(http, job["id"])


@pytest.fixture
def unchanged(server: Server) -> Iterator[None]:
    """Fails the test if it leaves a job, a version or a file behind."""
    with nothing_left_behind(server):
        yield


@pytest.fixture(scope="session")
def digits() -> tuple[Raw, list[int]]:
    """Pictures of MNIST's test set, `(10000, 28, 28)` of uint8, and what they show."""
    table = datasets.get("mnist").load()
    return table.inputs[-10_000:].reshape(-1, 28, 28), table.targets[-10_000:].tolist()
