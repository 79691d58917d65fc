"""The model repository put together: database, artifact store and registry, without a server."""

from __future__ import annotations

from pathlib import Path

from service.artifacts import ObjectArtifactStore
from service.errors import ConfigurationError, StorageError
from service.registry import Registry
from service.settings import Settings
from service.store import SqlDatabase, SqlModelRows


def open_repository(settings: Settings) -> tuple[SqlDatabase, ObjectArtifactStore, Registry]:
    """The model repository alone, with what lies in the store taken in. Raises `ConfigurationError`."""
    database = SqlDatabase(settings.database_url)
    artifacts = ObjectArtifactStore(settings.artifacts_url)
    registry = Registry(database, SqlModelRows(), artifacts)
    try:
        if settings.pretrained:
            if not Path(settings.pretrained).is_dir():
                raise ConfigurationError("TRAINSERVE_PRETRAINED: there is no such directory")
            registry.take_from(ObjectArtifactStore(settings.pretrained))
        registry.scan()
    except StorageError as error:
        raise ConfigurationError(f"TRAINSERVE_ARTIFACTS_URL: {error.detail}") from error
    return database, artifacts, registry
