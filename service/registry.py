"""Versions of models: publish, resolve `name@version` or `name@alias`, move aliases, load."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable

import nn
from nn.losses import LOSSES
from nn.model import Metadata, Model, RunSpec
from nn.schema import parse, to_json
from nn.summary import Summary, summarize
from service.domain import (
    LATEST,
    NAME,
    AliasMove,
    JSONObject,
    ModelReference,
    ModelVersion,
    VersionRow,
    check_alias,
    check_name,
)
from service.errors import Conflict, InvalidInput, NotFound, StorageError
from service.ports import ArtifactStore, Database, ModelRows, Transaction

log = logging.getLogger(__name__)

# models/<name>/<version>/<anything>.npz
PLACE = re.compile(rf"(?P<name>{NAME.pattern})/(?P<version>[1-9][0-9]{{0,8}})/[^/]+\.npz")


class Registry:
    """The model repository: rows in the database, artifacts in the store.

    An artifact is stored under its number and its SHA-256 before the row that points at it is committed: a crash in
    between leaves an object that nobody sees, never a row that points at nothing.
    """

    def __init__(self, database: Database, rows: ModelRows, artifacts: ArtifactStore) -> None:
        self._database = database
        self._rows = rows
        self._artifacts = artifacts

    def publish(
        self,
        name: str,
        data: bytes,
        *,
        job_id: str | None = None,
        within: Callable[[Transaction, ModelVersion], None] | None = None,
    ) -> ModelVersion:
        """Stores an artifact as the next version of `name`; `within` joins the transaction that makes it seen.

        A job gets one version, however often it comes. Raises `InvalidInput` for what is not an artifact, `Conflict`
        where the job's version was published before, and `StorageError`; whatever is raised, also by `within`, leaves
        the earlier versions as they were. A job that gives up must `release` its number.
        """
        check_name(name)
        try:
            metadata = nn.loads(data).metadata
        except nn.ArtifactError as error:
            raise InvalidInput(str(error)) from None
        with self._database.write() as tx:
            number = self._rows.reserve(tx, name, job_id=job_id)
        version = _describe(name, number, job_id, data, metadata)
        try:
            self._artifacts.put(version.path, data)
        except StorageError:
            if job_id is None:
                with self._database.write() as tx:
                    self._rows.release(tx, name, version=number, job_id=None)
            raise
        with self._database.write() as tx:
            if not self._rows.publish(tx, version):
                raise Conflict(f"{name}@{number} has been published already")
            if within is not None:
                within(tx, version)
        return self.resolve(ModelReference(name, version=number))

    def release(self, tx: Transaction, name: str, job_id: str) -> None:
        """Gives back the number that a job has reserved, if it has and did not publish."""
        self._rows.release(tx, name, version=None, job_id=job_id)

    def scan(self) -> None:
        """Brings rows and store together: at start, before anything is served.

        A version whose artifact is gone is withdrawn, since nothing could be answered with it, and is back once the
        artifact is. What lies in a place that no version holds, because it ships or was copied there, becomes a
        version: of the number that its place says, or, where another artifact once had that number, of the next one,
        for versions never change.
        """
        present = self._artifacts.list()
        lying = set(present)
        with self._database.write() as tx:
            rows = {(row.name, row.version): row for row in self._rows.rows(tx)}
            for row in rows.values():
                if row.visible and row.path not in lying:
                    log.warning("artifact gone", extra={"action": "version_withdrawn", "path": row.path})
                    self._rows.withdraw(tx, row.name, row.version, withdrawn=True)
        by_path = {row.path: row for row in rows.values()}
        for path in present:
            place = PLACE.fullmatch(path)
            own = by_path.get(path)
            if own is not None and not own.visible:
                self._restore(own)
            if place is None or own is not None:
                continue
            name, number = place["name"], int(place["version"])
            held = rows.get((name, number))
            if held is not None and (held.path is None or (held.visible and held.path in lying)):
                continue  # by a version, or by a run that has not published
            try:
                self._take_in(path, name, number if held is None else None)
                # One version to a place: what else lies there is not taken in beside it.
                rows[name, number] = VersionRow(name=name, version=number, path=path, visible=True)
            except (nn.ArtifactError, StorageError) as error:
                log.warning("no artifact", extra={"action": "no_artifact", "path": path, "reason": str(error)})

    def _take_in(self, path: str, name: str, number: int | None) -> None:
        data = self._artifacts.get(path)
        metadata = nn.loads(data).metadata
        with self._database.write() as tx:
            number = self._rows.reserve(tx, name, job_id=None, version=number)
            self._rows.publish(tx, _describe(name, number, None, data, metadata, path))
        log.info("model version found", extra={"action": "version_found", "model": name, "version": number})

    def _restore(self, row: VersionRow) -> None:
        with self._database.write() as tx:
            self._rows.withdraw(tx, row.name, row.version, withdrawn=False)
        log.info("artifact back", extra={"action": "version_restored", "model": row.name, "version": row.version})

    def take_from(self, shipped: ArtifactStore) -> None:
        """Copies in the versions of another store whose place is empty here."""
        present = {place.groups() for path in self._artifacts.list() if (place := PLACE.match(path))}
        for path in shipped.list():
            place = PLACE.fullmatch(path)
            if place is not None and place.groups() not in present:
                self._artifacts.put(path, shipped.get(path))

    def names(self) -> dict[str, list[ModelVersion]]:
        """Every model with its versions, oldest first."""
        found: dict[str, list[ModelVersion]] = {}
        with self._database.read() as tx:
            for version in self._rows.versions(tx):
                found.setdefault(version.name, []).append(version)
        return found

    def versions(self, name: str) -> list[ModelVersion]:
        """The versions of a model, oldest first. Raises `NotFound` where it has none."""
        with self._database.read() as tx:
            found = self._rows.versions(tx, name)
        if not found:
            raise NotFound(f"there is no model {name[:80]!r}; GET /models lists those that there are")
        return found

    def resolve(self, reference: ModelReference) -> ModelVersion:
        """The version that a reference means now. Raises `NotFound`."""
        with self._database.read() as tx:
            found = self._rows.find(tx, reference.name, version=reference.version, alias=reference.alias)
        if found is not None:
            return found
        present = self.versions(reference.name)
        numbers = ", ".join(str(version.version) for version in present[-20:])
        aliases = ", ".join(sorted({alias for version in present for alias in version.aliases}))
        raise NotFound(
            f"there is no {reference}; the versions of {reference.name} are {numbers}, its aliases {aliases or 'none'}"
        )

    def artifact(self, version: ModelVersion) -> bytes:
        """The bytes of a version. Raises `StorageError` where they are gone or are not those that were published."""
        data = self._artifacts.get(version.path)
        if hashlib.sha256(data).hexdigest() != version.sha256:
            raise StorageError(
                f"the artifact of {version.name}@{version.version} is damaged: its SHA-256 is not its own"
            )
        return data

    def load(self, version: ModelVersion) -> Model:
        """The model of a version, ready to predict. Raises `StorageError`."""
        try:
            return nn.loads(self.artifact(version))
        except nn.ArtifactError as error:
            raise StorageError(f"the artifact of {version.name}@{version.version} cannot be read: {error}") from error

    def summary(self, version: ModelVersion) -> Summary:
        """What the network of a version is made of, from its description alone: the artifact is not read."""
        run, inputs = parse(RunSpec, version.info["spec"]), version.info["inputs"]
        shape = (*inputs["shape"], 1) if inputs["kind"] == "picture" else (inputs["n_inputs"],)
        return summarize(run.network, shape, LOSSES[run.training.loss].output)

    def set_alias(self, name: str, alias: str, version: int) -> ModelVersion:
        """Points an alias at a version. Raises `NotFound`."""
        check_alias(alias)
        self.resolve(ModelReference(name, version=version))
        with self._database.write() as tx:
            self._rows.set_alias(tx, name, alias, version)
        return self.resolve(ModelReference(name, version=version))

    def delete_alias(self, name: str, alias: str) -> None:
        """Takes an alias away. Raises `NotFound`; `Conflict` for `latest`, which every model has."""
        if alias == LATEST:
            raise Conflict("every model has the alias 'latest': move it to another version instead")
        self.resolve(ModelReference(name, alias=alias))
        with self._database.write() as tx:
            self._rows.set_alias(tx, name, alias, None)

    def alias_history(self, name: str, alias: str) -> list[AliasMove]:
        """Every move of an alias, newest first. Raises `NotFound` where it has never been there."""
        with self._database.read() as tx:
            moves = self._rows.alias_history(tx, name, alias)
        if not moves:
            self.versions(name)
            raise NotFound(f"{name} has never had an alias {alias[:80]!r}")
        return moves


def _describe(
    name: str, number: int, job_id: str | None, data: bytes, metadata: Metadata, path: str | None = None
) -> ModelVersion:
    sha256 = hashlib.sha256(data).hexdigest()
    return ModelVersion(
        name=name,
        version=number,
        job=job_id,
        path=path or f"{name}/{number}/{sha256}.npz",
        sha256=sha256,
        size=len(data),
        created_at=0,  # the database's clock says
        info=info(metadata),
    )


def info(metadata: Metadata) -> JSONObject:
    """What is told of a version: what goes in and comes out, how good it is, where it came from."""
    return {
        "task": metadata.task.name,
        "inputs": metadata.features.describe(),
        "outputs": {"labels": list(metadata.task.labels)}
        if metadata.task.labels
        else {"n_values": metadata.task.n_values},
        "metrics": metadata.metrics,
        "spec": to_json(metadata.spec),
        "dataset": metadata.spec.dataset,
        "dataset_sha256": metadata.dataset_sha256,
        "seed": metadata.spec.training.seed,
        "library_versions": metadata.library_versions,
    }
