from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import nn
from service.artifacts import ObjectArtifactStore
from service.registry import Registry
from service.store import SqlDatabase, SqlModelRows


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqlDatabase]:
    """A real SQLite file, its tables made by the migrations."""
    database = SqlDatabase(f"sqlite:///{tmp_path / 'state' / 'trainserve.db'}")
    yield database
    database.close()


@pytest.fixture(scope="session")
def trained() -> Callable[[int], bytes]:
    """The artifact that a short run with this seed gives."""
    made: dict[int, bytes] = {}

    def train(seed: int) -> bytes:
        if seed not in made:
            run = nn.complete("toy-regression", training={"epochs": 1, "seed": seed})
            made[seed] = nn.dumps(nn.train(run)[0])
        return made[seed]

    return train


@pytest.fixture
def artifact(trained: Callable[[int], bytes]) -> bytes:
    return trained(1)


@pytest.fixture
def store() -> ObjectArtifactStore:
    return ObjectArtifactStore("memory://")


@pytest.fixture
def registry(database: SqlDatabase, store: ObjectArtifactStore) -> Registry:
    return Registry(database, SqlModelRows(), store)
