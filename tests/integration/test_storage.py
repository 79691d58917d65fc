"""An artifact store that is full, gone or not writable: the job fails with that reason, and nothing else is lost."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

import nn
from tests.integration.support import JSON, Server, get, is_problem, newest, submit, wait

# Its artifact has two megabytes: more than the tests leave room for.
LARGE: JSON = {
    "dataset": "toy-regression",
    "model": "large",
    "network": {
        "layers": [
            {"type": "dense", "units": 700},
            {"type": "tanh"},
            {"type": "dense", "units": 700},
            {"type": "tanh"},
            {"type": "dense", "units": 1},
        ]
    },
    "training": {"epochs": 1, "batch_size": 64, "optimizer": {"type": "sgd", "learning_rate": 0.001}},
}


@contextmanager
def replaced_by_a_file(server: Server, model: str) -> Iterator[None]:
    aside = server.models.rename(server.home / "aside")
    server.models.write_text("not a directory")
    try:
        yield
    finally:
        server.models.unlink()
        aside.rename(server.models)


@contextmanager
def blocked_by_a_file(server: Server, model: str) -> Iterator[None]:
    """Where the directory of the model is to be, there is a file."""
    place = server.models / model
    place.write_text("not a directory")
    try:
        yield
    finally:
        place.unlink()


@contextmanager
def files_limited(server: Server, model: str) -> Iterator[None]:
    """No file of the server may become larger than half a megabyte above its database and its log."""
    prlimit = getattr(resource, "prlimit", None)
    if prlimit is None:
        pytest.skip("this system cannot limit the files of another process")
    largest = max(path.stat().st_size for path in (server.log, *(server.home / "state").iterdir()))
    before = prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    prlimit(server.process.pid, resource.RLIMIT_FSIZE, (largest + 2**19, before[1]))
    try:
        yield
    finally:
        prlimit(server.process.pid, resource.RLIMIT_FSIZE, before)


@contextmanager
def not_writable(server: Server, model: str) -> Iterator[None]:
    if os.geteuid() == 0:
        pytest.skip("the superuser may write everywhere")
    server.models.chmod(0o555)
    try:
        yield
    finally:
        server.models.chmod(0o755)


ACCIDENTS: dict[str, tuple[Callable[[Server, str], AbstractContextManager[None]], str]] = {
    "files limited": (files_limited, "File too large"),
    "replaced by a file": (replaced_by_a_file, "Not a directory"),
    "blocked by a file": (blocked_by_a_file, "Not a directory"),
    "not writable": (not_writable, "Permission denied"),
}


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory, pretrained: Path) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("storage"), pretrained) as server:
        yield server


def files(server: Server) -> list[Path]:
    return sorted(path for path in server.models.rglob("*") if path.is_file())


@pytest.mark.parametrize("accident", ACCIDENTS)
def test_the_job_fails_and_earlier_versions_stay_whole(accident: str, own_server: Server) -> None:
    server, http = own_server, own_server.http
    happens, reason = ACCIDENTS[accident]
    body = LARGE | {"model": accident.replace(" ", "-")}
    question = {"model": "toy-regression", "inputs": [[0.5]]}
    answer = http.post("/predict", json=question).json()
    models, stored = get(http, "/models"), files(server)
    with happens(server, body["model"]):
        job = wait(http, submit(http, **body)["id"], "failed")
        assert job["error"]["code"] == "storage"
        assert reason in job["error"]["message"]
        assert str(server.home) not in job["error"]["message"]
        assert http.post("/predict", json=question).json() == answer, "what is loaded goes on"
    assert get(http, "/models") == models
    assert files(server) == stored
    for name in ("mnist", "heart", "toy-regression"):
        assert http.get(f"/models/{name}/versions/1/artifact").status_code == 200, "whole: its digest is its own"
    assert get(http, "/health/ready") == {"status": "ready"}
    assert wait(http, submit(http, **body)["id"], "succeeded")["result"]["version"] == 1


def test_an_upload_is_refused_with_503(own_server: Server) -> None:
    http = own_server.http
    artifact = http.get("/models/toy-regression/versions/1/artifact").content
    headers = {"Content-Type": "application/octet-stream"}
    with replaced_by_a_file(own_server, "late"):
        is_problem(http.post("/models/late/versions", content=artifact, headers=headers), 503, "artifact store")
        is_problem(http.get("/health/ready"), 503, "artifact store")
        is_problem(http.get("/models/heart/versions/1/artifact"), 503, "artifact")
    is_problem(http.get("/models/late"), 404)
    assert http.post("/models/late/versions", content=artifact, headers=headers).json()["version"] == 1


def test_an_artifact_that_was_changed_on_disk_is_not_served(own_server: Server) -> None:
    http = own_server.http
    (path,) = (own_server.models / "heart" / "1").iterdir()
    whole = path.read_bytes()
    question = nn.loads(whole).metadata.example
    path.write_bytes(whole[:-10] + bytes(10))
    is_problem(http.get("/models/heart/versions/1/artifact"), 503, "damaged")
    is_problem(http.post("/predict?model=heart", json=question), 503, "damaged")
    path.write_bytes(whole)
    assert http.post("/predict?model=heart", json=question).status_code == 200


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of six megabytes."""
    place = tmp_path_factory.mktemp("disk")
    mounted = mount("-t", "tmpfs", "-o", "size=6m", "tmpfs", place)
    if mounted.returncode:
        pytest.skip(f"a file system cannot be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def mount(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    ballast = disk / "ballast"
    space = os.statvfs(disk)
    ballast.write_bytes(bytes(max(0, space.f_bavail * space.f_frsize - 100_000)))
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def read_only(disk: Path) -> Iterator[None]:
    assert mount("-o", "remount,ro", disk).returncode == 0
    try:
        yield
    finally:
        assert mount("-o", "remount,rw", disk).returncode == 0


@pytest.fixture(scope="module")
def disk_server(disk: Path, tmp_path_factory: pytest.TempPathFactory, pretrained: Path) -> Iterator[Server]:
    """A server whose artifacts, and nothing else, lie on the small file system."""
    with Server(tmp_path_factory.mktemp("disk-server"), pretrained, artifacts_url=disk / "models") as server:
        yield server


@pytest.mark.parametrize(
    ("happens", "reason"), [(full, "No space left on device"), (read_only, "Read-only file system")]
)
def test_a_disk_that_takes_nothing(
    happens: Callable[[Path], AbstractContextManager[None]], reason: str, disk: Path, disk_server: Server
) -> None:
    http = disk_server.http
    body = LARGE | {"model": happens.__name__}
    stored = sorted(disk.rglob("*.npz"))
    with happens(disk):
        job = wait(http, submit(http, **body)["id"], "failed")
        assert (job["error"]["code"], job["result"]) == ("storage", None)
        assert reason in job["error"]["message"]
        left = sorted(path for path in (disk / "models").rglob("*") if path.is_file())
        assert left == stored, "no half of a file stays"
        assert http.post("/predict", json=get(http, "/models/mnist/example")).status_code == 200
        assert http.get("/models/mnist/versions/1/artifact").status_code == 200
    assert newest(http, body["model"]) == 0
    small = body | {"network": None, "training": {"epochs": 1}}
    assert wait(http, submit(http, **small)["id"], "succeeded")["result"]["version"] == 1
