from __future__ import annotations

import threading
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from service.domain import JobState
from service.errors import ConfigurationError, Unavailable
from service.store import SqlDatabase
from service.store.tables import alias_move, job, metadata

INSERT = sqlalchemy.insert(alias_move).values(name="x", alias="latest", version=1, moved_at=0)
COUNT = sqlalchemy.select(sqlalchemy.func.count()).select_from(alias_move)


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def test_the_migrations_make_the_tables_of_the_code(database: SqlDatabase) -> None:
    with database.read() as tx:
        assert compare_metadata(MigrationContext.configure(tx), metadata) == []
        (made,) = tx.scalars(sqlalchemy.text("SELECT sql FROM sqlite_master WHERE name = 'job'"))
    assert all(f"'{state.value}'" in made for state in JobState), "a state of the code may stand in the table"


def test_what_was_written_is_there_when_it_is_opened_again(database: SqlDatabase) -> None:
    with database.write() as tx:
        tx.execute(INSERT)
    again = SqlDatabase(url(database.path))
    with again.read() as tx:
        assert tx.scalar(COUNT) == 1
    again.close()


def test_the_database_of_a_newer_version_is_refused(database: SqlDatabase) -> None:
    with database.write() as tx:
        tx.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="revision 9999, of a newer trainserve"):
        SqlDatabase(url(database.path))


def test_an_exception_takes_everything_back(database: SqlDatabase) -> None:
    def write_and_break() -> None:
        with database.write() as tx:
            tx.execute(INSERT)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_and_break()
    with database.read() as tx:
        assert tx.scalar(COUNT) == 0


def test_a_reader_sees_one_state_and_holds_no_writer_up(database: SqlDatabase) -> None:
    with database.read() as reading:
        assert reading.scalar(COUNT) == 0
        with database.write() as tx:
            tx.execute(INSERT)
        assert reading.scalar(COUNT) == 0
    with database.read() as tx:
        assert tx.scalar(COUNT) == 1


def test_writers_wait_for_their_turn(database: SqlDatabase) -> None:
    def write() -> None:
        for _ in range(20):
            with database.write() as tx:
                count = tx.scalar(COUNT)
                tx.execute(INSERT)
                assert tx.scalar(COUNT) == (count or 0) + 1

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as tx:
        assert tx.scalar(COUNT) == 80


def test_a_state_that_is_none_is_refused_by_the_table(database: SqlDatabase) -> None:
    row = {column.name: 0 for column in job.columns if not column.nullable and column.name != "sequence"}
    with pytest.raises(sqlalchemy.exc.IntegrityError, match="state"), database.write() as tx:
        tx.execute(
            sqlalchemy.insert(job).values(**row | {"state": "asleep", "spec": {}, "metadata": {}, "progress": {}})
        )


def test_where_the_tables_are_gone_it_is_unavailable(database: SqlDatabase) -> None:
    with database.write() as tx:
        tx.execute(sqlalchemy.text("DROP TABLE alias_move"))
    with pytest.raises(Unavailable, match="database"), database.read() as tx:
        tx.scalar(COUNT)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nonsense", "not a database URL"),
        ("postgresql://host/name", "only sqlite"),
        ("mysql://host/name", "only sqlite"),
        ("sqlite://", "name a file"),
        ("sqlite:///:memory:", "name a file"),
        ("sqlite:////proc/nowhere/x.db", "cannot be opened"),
    ],
)
def test_an_address_that_cannot_be(address: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        SqlDatabase(address)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigurationError, match="cannot be opened"):
        SqlDatabase(url(tmp_path / "x.db"))


def test_a_directory_of_any_name(tmp_path: Path) -> None:
    database = SqlDatabase(url(tmp_path / "50 % of ünïcode" / "x.db"))
    database.ping()
    assert database.path == tmp_path / "50 % of ünïcode" / "x.db"
    assert database.path.is_file()
    database.close()
