"""The artifact store over obstore: a directory, or memory, by URL."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, MemoryStore

from service.errors import ConfigurationError, StorageError


class ObjectArtifactStore:
    """Objects by path below the place that a URL names.

    A write goes to a file beside and is renamed, so that an object is there whole or not at all. Raises
    `ConfigurationError` where the place cannot be used.
    """

    def __init__(self, url: str) -> None:
        self.directory = _directory(url)
        self._store: LocalStore | MemoryStore
        if self.directory is None:
            self._store = MemoryStore()
            return
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self._store = LocalStore(self.directory)
        except (OSError, BaseError) as error:
            raise ConfigurationError(
                f"the directory of TRAINSERVE_ARTIFACTS_URL cannot be used ({_reason(error)}); name one that can"
            ) from error

    def put(self, path: str, data: bytes) -> None:
        try:
            obstore.put(self._store, path, data)
        except (OSError, BaseError) as error:
            raise StorageError(f"the artifact store did not take the artifact: {_reason(error)}") from error

    def get(self, path: str) -> bytes:
        try:
            return bytes(obstore.get(self._store, path).bytes())
        except (FileNotFoundError, NotFoundError) as error:
            raise StorageError("the artifact is no longer in the artifact store") from error
        except (OSError, BaseError) as error:
            raise StorageError(f"the artifact store did not give the artifact: {_reason(error)}") from error

    def list(self) -> Sequence[str]:
        try:
            found = [item for chunk in obstore.list(self._store) for item in chunk]
        except (OSError, BaseError) as error:
            raise StorageError(f"the artifact store did not list its objects: {_reason(error)}") from error
        return [item["path"] for item in sorted(found, key=lambda item: item["last_modified"])]

    def check(self) -> None:
        if self.directory is not None and not self.directory.is_dir():
            raise StorageError("the directory of the artifact store is not there")


def _directory(url: str) -> Path | None:
    parts = urlsplit(url)
    if parts.scheme == "memory":
        return None
    if parts.scheme == "file" and parts.netloc:
        raise ConfigurationError("TRAINSERVE_ARTIFACTS_URL: a file URL has three slashes, as in file:///srv/models")
    if parts.scheme in ("", "file"):
        return Path(unquote(parts.path) if parts.scheme else url).absolute()
    raise ConfigurationError(
        f"TRAINSERVE_ARTIFACTS_URL: expected a directory, file:///… or memory://; got the scheme {parts.scheme!r}"
    )


# What the operating system calls the usual accidents; the library's own words hold paths.
_ACCIDENTS = (
    "No space left on device",
    "Permission denied",
    "Read-only file system",
    "Not a directory",
    "File exists",
    "Disk quota exceeded",
    "File too large",
    "Too many open files",
    "Input/output error",
)


def _reason(error: Exception) -> str:
    return next((accident for accident in _ACCIDENTS if accident in str(error)), type(error).__name__)
