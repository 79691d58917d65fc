"""The rows of versions and aliases on a real SQLite file."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from service.domain import ModelVersion, VersionRow
from service.store import SqlDatabase, SqlModelRows

rows = SqlModelRows()


class Store:
    """Each operation in a transaction of its own."""

    def __init__(self, database: SqlDatabase) -> None:
        self.database = database

    def __getattr__(self, operation: str) -> Any:
        def run(*arguments: Any, **options: Any) -> Any:
            with self.database.write() as tx:
                return getattr(rows, operation)(tx, *arguments, **options)

        return run

    def number(self, name: str = "m", *, job_id: str | None = None, version: int | None = None) -> int:
        return int(self.reserve(name, job_id=job_id, version=version))

    def published(self, name: str = "m", number: int | None = None) -> int:
        number = self.number(name) if number is None else number
        self.publish(described(name, number))
        return number

    def latest(self, name: str = "m") -> int | None:
        found = self.find(name, version=None, alias="latest")
        return None if found is None else int(found.version)


def described(name: str, number: int) -> ModelVersion:
    return ModelVersion(
        name=name,
        version=number,
        job=None,
        path=f"{name}/{number}/x.npz",
        sha256="0" * 64,
        size=5,
        created_at=0,
        info={"a": 1},
    )


@pytest.fixture
def store(database: SqlDatabase) -> Store:
    return Store(database)


def test_numbers_are_given_out_once_each_and_by_name(store: Store) -> None:
    assert [store.number("a"), store.number("a"), store.number("b")] == [1, 2, 1]
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(lambda _: store.number("a"), range(20))) == list(range(3, 23))


def test_a_job_gets_the_same_number_again(store: Store) -> None:
    assert [store.number(job_id="j"), store.number(job_id="k"), store.number(job_id="j")] == [1, 2, 1]


def test_a_number_of_ones_own_choice(store: Store) -> None:
    assert store.number(version=7) == 7
    assert store.number() == 8


def test_what_is_reserved_is_not_seen_until_it_is_published(store: Store) -> None:
    number = store.number()
    assert (store.versions("m"), store.find("m", version=number, alias="latest"), store.latest()) == ([], None, None)
    assert store.rows() == [VersionRow(name="m", version=1, path=None, visible=False)]
    store.publish(described("m", number))
    (version,) = store.versions("m")
    assert store.find("m", version=number, alias="") == version
    assert version.info == {"a": 1}
    assert version.aliases == ("latest",)
    assert version.created_at == pytest.approx(time.time(), abs=5)
    assert store.rows() == [VersionRow(name="m", version=1, path="m/1/x.npz", visible=True)]


def test_what_is_published_does_not_change(store: Store) -> None:
    store.published()
    assert store.publish(replace(described("m", 1), path="elsewhere", sha256="1" * 64)) is False
    assert store.find("m", version=1, alias="").path == "m/1/x.npz"


def test_a_number_that_was_not_published_can_be_given_back(store: Store) -> None:
    store.published()
    store.number(job_id="j")
    store.release("m", version=None, job_id="j")
    store.release("m", version=store.number(), job_id=None)
    assert store.number(job_id="k") == 2


def test_what_was_published_is_not_given_back(store: Store) -> None:
    store.published(number=store.number(job_id="j"))
    store.release("m", version=None, job_id="j")
    store.release("m", version=1, job_id=None)
    assert store.latest() == 1


def test_a_version_that_is_withdrawn_is_not_seen_until_it_is_back(store: Store) -> None:
    for _ in range(3):
        store.published()
    before = store.versions("m")
    store.set_alias("m", "champion", 3)
    store.withdraw("m", 3, withdrawn=True)
    assert [version.version for version in store.versions("m")] == [1, 2]
    assert store.latest() == 2, "the newest that is left"
    assert store.find("m", version=3, alias="") is None
    assert store.find("m", version=None, alias="champion") is None
    assert store.number() == 4, "its number is not given again"
    store.withdraw("m", 3, withdrawn=False)
    assert store.latest() == 3
    assert store.find("m", version=None, alias="champion").version == 3, "what somebody set is kept for it"
    assert [version.created_at for version in store.versions("m")] == [version.created_at for version in before]
    assert [move.version for move in store.alias_history("m", "latest")] == [3, 2, 3, 2, 1]


def test_the_last_version_can_be_withdrawn(store: Store) -> None:
    store.published()
    store.withdraw("m", 1, withdrawn=True)
    assert store.versions("m") == []
    assert store.find("m", version=None, alias="latest") is None


def test_latest_goes_to_the_newest_in_whatever_order_they_come(store: Store) -> None:
    first, second = store.number(), store.number()
    store.published(number=second)
    assert store.latest() == 2
    store.published(number=first)
    assert store.latest() == 2
    assert [move.version for move in store.alias_history("m", "latest")] == [2]


def test_aliases_and_their_moves(store: Store) -> None:
    for _ in range(2):
        store.published()
    assert store.set_alias("m", "champion", 1) is True
    assert store.set_alias("m", "champion", 1) is False
    assert store.set_alias("m", "champion", 2) is True
    assert store.find("m", version=None, alias="champion").aliases == ("champion", "latest")
    assert store.set_alias("m", "champion", None) is True
    assert store.set_alias("m", "champion", None) is False
    assert store.find("m", version=None, alias="champion") is None
    moves = store.alias_history("m", "champion")
    assert [move.version for move in moves] == [None, 2, 1]
    assert [move.moved_at for move in moves] == sorted((move.moved_at for move in moves), reverse=True)
    assert store.alias_history("m", "unheard-of") == []


def test_the_aliases_of_one_model_are_not_those_of_another(store: Store) -> None:
    store.published("a")
    store.published("b")
    store.set_alias("a", "champion", 1)
    assert [(version.name, version.aliases) for version in store.versions()] == [
        ("a", ("champion", "latest")),
        ("b", ("latest",)),
    ]
    assert store.find("b", version=None, alias="champion") is None
