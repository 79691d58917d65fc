"""The rows of model versions and aliases."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, insert, select, update

from service.domain import LATEST, AliasMove, ModelVersion, VersionRow
from service.store.tables import alias_move, model_alias, model_version, now

VISIBLE = and_(model_version.c.published_at.is_not(None), ~model_version.c.withdrawn)


class SqlModelRows:
    """The registry in SQL."""

    def reserve(self, tx: Connection, name: str, *, job_id: str | None, version: int | None = None) -> int:
        if job_id is not None:
            own = select(model_version.c.version).where(model_version.c.job_id == job_id)
            known: int | None = tx.scalar(own)
            if known is not None:
                return known
        if version is None:
            newest = select(func.max(model_version.c.version)).where(model_version.c.name == name)
            version = (tx.scalar(newest) or 0) + 1
        tx.execute(insert(model_version).values(name=name, version=version, job_id=job_id, withdrawn=False))
        return version

    def release(self, tx: Connection, name: str, *, version: int | None, job_id: str | None) -> None:
        own = model_version.c.version == version if job_id is None else model_version.c.job_id == job_id
        tx.execute(
            delete(model_version).where(model_version.c.name == name, own, model_version.c.published_at.is_(None))
        )

    def publish(self, tx: Connection, version: ModelVersion) -> bool:
        published = tx.execute(
            update(model_version)
            .where(_at(version.name, version.version), model_version.c.published_at.is_(None))
            .values(path=version.path, sha256=version.sha256, size=version.size, info=version.info, published_at=now())
        )
        if published.rowcount and self._newest(tx, version.name) == version.version:
            self.set_alias(tx, version.name, LATEST, version.version)
        return bool(published.rowcount)

    def withdraw(self, tx: Connection, name: str, version: int, *, withdrawn: bool) -> None:
        tx.execute(update(model_version).where(_at(name, version)).values(withdrawn=withdrawn))
        newest = self._newest(tx, name)
        latest = tx.scalar(
            select(model_alias.c.version).where(model_alias.c.name == name, model_alias.c.alias == LATEST)
        )
        if newest is not None and (latest == version if withdrawn else newest == version):
            self.set_alias(tx, name, LATEST, newest)

    def rows(self, tx: Connection) -> list[VersionRow]:
        taken = tx.execute(
            select(
                model_version.c.name,
                model_version.c.version,
                model_version.c.path,
                VISIBLE.label("visible"),
            )
        )
        return [VersionRow(**row._mapping) for row in taken]

    def _newest(self, tx: Connection, name: str) -> int | None:
        newest: int | None = tx.scalar(
            select(func.max(model_version.c.version)).where(model_version.c.name == name, VISIBLE)
        )
        return newest

    def versions(self, tx: Connection, name: str | None = None) -> list[ModelVersion]:
        query = select(model_version).where(VISIBLE).order_by(model_version.c.name, model_version.c.version)
        aliases = select(model_alias).order_by(model_alias.c.alias)
        if name is not None:
            query = query.where(model_version.c.name == name)
            aliases = aliases.where(model_alias.c.name == name)
        pointing: defaultdict[tuple[str, int], list[str]] = defaultdict(list)
        for row in tx.execute(aliases):
            pointing[row.name, row.version].append(row.alias)
        return [_version(row, pointing[row.name, row.version]) for row in tx.execute(query)]

    def find(self, tx: Connection, name: str, *, version: int | None, alias: str) -> ModelVersion | None:
        wanted = model_version.c.version == version
        if version is None:
            wanted = model_version.c.version == (
                select(model_alias.c.version)
                .where(model_alias.c.name == name, model_alias.c.alias == alias)
                .scalar_subquery()
            )
        row = tx.execute(select(model_version).where(model_version.c.name == name, wanted, VISIBLE)).one_or_none()
        if row is None:
            return None
        pointing = select(model_alias.c.alias).where(model_alias.c.name == name, model_alias.c.version == row.version)
        return _version(row, sorted(tx.scalars(pointing)))

    def set_alias(self, tx: Connection, name: str, alias: str, version: int | None) -> bool:
        here = (model_alias.c.name == name, model_alias.c.alias == alias)
        if tx.scalar(select(model_alias.c.version).where(*here)) == version:
            return False
        tx.execute(delete(model_alias).where(*here))
        if version is not None:
            tx.execute(insert(model_alias).values(name=name, alias=alias, version=version))
        tx.execute(insert(alias_move).values(name=name, alias=alias, version=version, moved_at=now()))
        return True

    def alias_history(self, tx: Connection, name: str, alias: str) -> list[AliasMove]:
        query = (
            select(alias_move.c.alias, alias_move.c.version, alias_move.c.moved_at)
            .where(alias_move.c.name == name, alias_move.c.alias == alias)
            .order_by(alias_move.c.sequence.desc())
        )
        return [AliasMove(**row._mapping) for row in tx.execute(query)]


def _at(name: str, version: int) -> ColumnElement[bool]:
    return and_(model_version.c.name == name, model_version.c.version == version)


def _version(row: Row[Any], aliases: list[str]) -> ModelVersion:
    return ModelVersion(
        name=row.name,
        version=row.version,
        job=row.job_id,
        path=row.path,
        sha256=row.sha256,
        size=row.size,
        created_at=row.published_at,
        info=row.info,
        aliases=tuple(aliases),
    )
