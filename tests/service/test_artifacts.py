"""One contract for every artifact store, and what is particular to a directory."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from service.artifacts import ObjectArtifactStore
from service.errors import ConfigurationError, StorageError
from service.ports import ArtifactStore

URLS: dict[str, Callable[[Path], str]] = {
    "memory": lambda place: "memory://",
    "directory": str,
    "file URL": lambda place: f"file://{quote(str(place))}",
}


@pytest.fixture(params=URLS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    return ObjectArtifactStore(URLS[request.param](tmp_path / "a place" / "ünïcode & 50%"))


class TestContract:
    @pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 10_000])
    def test_what_was_put_is_got(self, data: bytes, store: ArtifactStore) -> None:
        store.put("mnist/1/x.npz", data)
        assert store.get("mnist/1/x.npz") == data

    def test_what_is_put_again_takes_the_place(self, store: ArtifactStore) -> None:
        store.put("x", b"first, and longer")
        store.put("x", b"second")
        assert store.get("x") == b"second"
        assert store.list() == ["x"]

    def test_the_list_is_empty_at_first_and_then_oldest_first(self, store: ArtifactStore) -> None:
        assert store.list() == []
        paths = ["z/2/x.npz", "a/1/x.npz", "m/1/deep/er/x.npz"]
        for path in paths:
            store.put(path, b"x")
            time.sleep(0.002)  # so that the clock of the file system tells them apart
        assert store.list() == paths

    def test_what_is_not_there(self, store: ArtifactStore) -> None:
        store.put("mnist/1/x.npz", b"x")
        for path in ("y", "mnist/2/x.npz", "mnist/1", "mnist/1/x.npz/y"):
            with pytest.raises(StorageError, match="artifact"):
                store.get(path)

    def test_it_is_there(self, store: ArtifactStore) -> None:
        store.check()


class TestDirectory:
    def test_objects_are_plain_files_and_nothing_else_stays(self, tmp_path: Path) -> None:
        store = ObjectArtifactStore(str(tmp_path))
        store.put("mnist/1/x.npz", b"12345")
        store.put("mnist/1/x.npz", b"123")
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "mnist" / "1" / "x.npz"]
        assert (tmp_path / "mnist" / "1" / "x.npz").read_bytes() == b"123"

    def test_what_others_put_there_is_found(self, tmp_path: Path) -> None:
        store = ObjectArtifactStore(str(tmp_path))
        (tmp_path / "heart" / "1").mkdir(parents=True)
        (tmp_path / "heart" / "1" / "x.npz").write_bytes(b"x")
        assert store.list() == ["heart/1/x.npz"]
        assert store.get("heart/1/x.npz") == b"x"

    def test_a_directory_that_is_gone(self, tmp_path: Path) -> None:
        store = ObjectArtifactStore(str(tmp_path / "models"))
        (tmp_path / "models").rmdir()
        with pytest.raises(StorageError, match="not there"):
            store.check()

    def test_a_write_that_fails_says_why_without_a_path_and_leaves_no_trace(self, tmp_path: Path) -> None:
        store = ObjectArtifactStore(str(tmp_path))
        (tmp_path / "mnist").write_text("a file where a directory is wanted")
        with pytest.raises(StorageError, match="Not a directory") as caught:
            store.put("mnist/1/x.npz", b"x")
        assert str(tmp_path) not in str(caught.value)
        assert store.list() == ["mnist"]

    @pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
    def test_a_directory_that_cannot_be_written_to(self, tmp_path: Path) -> None:
        store = ObjectArtifactStore(str(tmp_path))
        tmp_path.chmod(0o555)
        with pytest.raises(StorageError, match="Permission denied"):
            store.put("x", b"x")
        tmp_path.chmod(0o755)


@pytest.mark.parametrize("url", ["s3://bucket", "http://host/x", "gs://x", "/proc/nowhere"])
def test_a_place_that_cannot_be(url: str) -> None:
    with pytest.raises(ConfigurationError, match="TRAINSERVE_ARTIFACTS_URL"):
        ObjectArtifactStore(url)


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x")
    with pytest.raises(ConfigurationError, match="cannot be used"):
        ObjectArtifactStore(str(tmp_path / "x"))
