"""The engine, its transactions, and the migrations that bring the tables up to date."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DBAPIError

from service.errors import ConfigurationError, Unavailable

MIGRATIONS = Path(__file__).parent / "migrations"
_READ_ONLY = "trainserve_read_only"


class SqlDatabase:
    """An SQL database, its tables made or brought up to date.

    Raises `ConfigurationError` where it cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self.path = _file(url)
        self.engine = _sqlite(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._migrate()
        except ConfigurationError:
            self.close()
            raise
        except (OSError, DBAPIError, Unavailable) as error:
            self.close()
            cause = error.__cause__ if isinstance(error, Unavailable) else error
            raise ConfigurationError(
                f"TRAINSERVE_DATABASE_URL: the database cannot be opened or written to "
                f"({getattr(cause, 'orig', cause)}); name a file in a directory that this user can write to"
            ) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        with self._connect(read_only=True) as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        with self._connect(read_only=False) as connection, connection.begin():
            yield connection

    @contextmanager
    def _connect(self, *, read_only: bool) -> Iterator[Connection]:
        try:
            with self.engine.connect().execution_options(**{_READ_ONLY: read_only}) as connection:
                yield connection
        except (sqlalchemy.exc.OperationalError, sqlalchemy.exc.TimeoutError) as error:
            raise Unavailable("the database does not answer, or cannot be written to") from error

    def ping(self) -> None:
        with self.read() as connection:
            connection.execute(sqlalchemy.select(1))

    def close(self) -> None:
        self.engine.dispose()

    def _migrate(self) -> None:
        # Revisions are numbers, and their files' names begin with them. Alembic takes longer to import than the rest of
        # this room, so that a database which is up to date does without it.
        newest = max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
        present = self._revision()
        if present == newest:
            return
        if present > newest:
            raise ConfigurationError(
                f"TRAINSERVE_DATABASE_URL: the database is at revision {present}, of a newer trainserve; this one "
                f"knows {newest}: update trainserve, or name another database"
            )
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with self.write() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def _revision(self) -> str:
        """The revision of the tables; nothing where there are none."""
        with self.read() as connection:
            if not sqlalchemy.inspect(connection).has_table("alembic_version"):
                return ""
            return str(connection.scalar(sqlalchemy.text("SELECT version_num FROM alembic_version")) or "")


def _file(url: str) -> Path:
    try:
        parsed = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError as error:
        raise ConfigurationError(f"TRAINSERVE_DATABASE_URL is not a database URL: {error}") from None
    if parsed.get_backend_name() != "sqlite":
        raise ConfigurationError(f"TRAINSERVE_DATABASE_URL: only sqlite is served yet; got {parsed.drivername}")
    if parsed.database in (None, "", ":memory:"):
        raise ConfigurationError("TRAINSERVE_DATABASE_URL: name a file, as in sqlite:///state/trainserve.db")
    return Path(str(parsed.database)).absolute()


def _sqlite(path: Path) -> Engine:
    engine = sqlalchemy.create_engine(sqlalchemy.URL.create("sqlite", database=str(path)), pool_size=8, max_overflow=40)

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, record: object) -> None:
        connection.isolation_level = None  # the driver's own BEGIN would come late and could not be chosen
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=10000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        # A read that later wants to write fails at once, whatever the timeout: writers say so at the beginning.
        read_only = connection.get_execution_options().get(_READ_ONLY, False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine
