from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

import nn
from service.artifacts import ObjectArtifactStore
from service.domain import ModelReference
from service.errors import Conflict, InvalidInput, NotFound, StorageError
from service.registry import Registry
from service.store import SqlDatabase, SqlModelRows

Trained = Callable[[int], bytes]


class FullStore(ObjectArtifactStore):
    """Takes nothing any more while `full`."""

    full = True

    def put(self, path: str, data: bytes) -> None:
        if self.full:
            raise StorageError("No space left on device")
        super().put(path, data)


class TestPublish:
    def test_versions_count_from_1_for_each_name(self, registry: Registry, trained: Trained) -> None:
        published = [registry.publish(name, trained(seed)) for name, seed in [("a", 1), ("b", 1), ("a", 2)]]
        assert [(version.name, version.version) for version in published] == [("a", 1), ("b", 1), ("a", 2)]
        assert [version.aliases for version in registry.versions("a")] == [(), ("latest",)]

    def test_what_a_version_tells(self, registry: Registry, store: ObjectArtifactStore, artifact: bytes) -> None:
        version = registry.publish("a", artifact, job_id="j")
        digest = hashlib.sha256(artifact).hexdigest()
        assert (version.job, version.sha256, version.size) == ("j", digest, len(artifact))
        assert version.path == f"a/1/{digest}.npz"
        assert store.get(version.path) == registry.artifact(version) == artifact
        assert version.info["task"] == "regression"
        assert version.info["metrics"] == nn.loads(artifact).metadata.metrics
        assert nn.dumps(registry.load(version)) == artifact

    def test_its_summary_needs_no_artifact(
        self, registry: Registry, store: ObjectArtifactStore, artifact: bytes
    ) -> None:
        version = registry.publish("a", artifact)
        store.put(version.path, b"spoiled")
        arrays = nn.loads(artifact).network.arrays.values()
        assert registry.summary(version).array_bytes == sum(array.nbytes for array in arrays)

    @pytest.mark.parametrize("name", ["", "..", "../x", "A", "a/b"])
    def test_a_name_that_cannot_be(
        self, name: str, registry: Registry, store: ObjectArtifactStore, artifact: bytes
    ) -> None:
        with pytest.raises(InvalidInput):
            registry.publish(name, artifact)
        assert (registry.names(), store.list()) == ({}, [])

    def test_what_is_no_artifact(self, registry: Registry, store: ObjectArtifactStore, artifact: bytes) -> None:
        for data in (b"", b"x", artifact[:-1], artifact[1:]):
            with pytest.raises(InvalidInput):
                registry.publish("a", data)
        assert (registry.names(), store.list()) == ({}, [])
        assert registry.publish("a", artifact).version == 1

    def test_a_job_makes_one_version_however_often_it_comes(self, registry: Registry, trained: Trained) -> None:
        first = registry.publish("a", trained(1), job_id="j")
        with pytest.raises(Conflict, match="a@1 has been published already"):
            registry.publish("a", trained(2), job_id="j")
        assert registry.versions("a") == [first]
        assert registry.artifact(first) == trained(1)
        assert registry.publish("a", trained(2), job_id="k").version == 2

    def test_a_store_that_is_full_leaves_all_as_it_was(self, database: SqlDatabase, trained: Trained) -> None:
        store = FullStore("memory://")
        registry = Registry(database, SqlModelRows(), store)
        store.full = False
        earlier = registry.publish("a", trained(1))
        store.full = True
        for job_id in (None, "j"):
            with pytest.raises(StorageError):
                registry.publish("a", trained(2), job_id=job_id)
        assert registry.versions("a") == [earlier]
        with database.write() as tx:
            registry.release(tx, "a", "j")
        store.full = False
        assert registry.publish("a", trained(2), job_id="k").version == 2

    def test_what_joins_the_transaction_may_still_prevent_it(self, registry: Registry, trained: Trained) -> None:
        earlier = registry.publish("a", trained(1))

        def prevent(tx: object, version: object) -> None:
            raise Conflict("somebody else owns the job")

        with pytest.raises(Conflict):
            registry.publish("a", trained(2), job_id="j", within=prevent)
        assert registry.versions("a") == [earlier]
        assert registry.publish("a", trained(3), job_id="j").version == 2, "the job keeps its number"

    def test_many_at_once_get_numbers_of_their_own(self, registry: Registry, trained: Trained) -> None:
        with ThreadPoolExecutor(4) as pool:
            published = list(pool.map(lambda seed: registry.publish("a", trained(seed % 3)), range(12)))
        assert sorted(version.version for version in published) == list(range(1, 13))
        assert registry.resolve(ModelReference("a")).version == 12


class TestScan:
    def test_what_lies_in_the_store_is_taken_in_once(
        self, registry: Registry, store: ObjectArtifactStore, trained: Trained
    ) -> None:
        store.put("a/2/copied.npz", trained(2))
        store.put("a/1/copied.npz", trained(1))
        for _ in range(2):
            registry.scan()
            assert [(version.version, version.path) for version in registry.versions("a")] == [
                (1, "a/1/copied.npz"),
                (2, "a/2/copied.npz"),
            ]
        assert registry.resolve(ModelReference("a")).version == 2
        assert len(registry.alias_history("a", "latest")) == 1
        assert registry.publish("a", trained(3)).version == 3

    def test_other_files_are_left_alone(
        self, registry: Registry, store: ObjectArtifactStore, artifact: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        for path in (
            "x.npz",
            "a/x.npz",
            "a/0/x.npz",
            "a/01/x.npz",
            "a/one/x.npz",
            "A/1/x.npz",
            "a/1/x/y.npz",
            "a/1/x.npy",
        ):
            store.put(path, artifact)
        store.put("broken/1/x.npz", artifact[:100])
        with caplog.at_level(logging.WARNING):
            registry.scan()
        assert registry.names() == {}
        assert [record.path for record in caplog.records] == ["broken/1/x.npz"]  # type: ignore[attr-defined]

    def test_a_number_that_a_job_holds_is_not_taken(
        self, registry: Registry, database: SqlDatabase, store: ObjectArtifactStore, trained: Trained
    ) -> None:
        """The server died between the artifact and its row: the job runs again and publishes it itself."""
        with database.write() as tx:
            assert SqlModelRows().reserve(tx, "a", job_id="j") == 1
        store.put("a/1/orphan.npz", trained(1))
        registry.scan()
        assert registry.names() == {}
        assert registry.publish("a", trained(2), job_id="j").version == 1

    def test_a_version_whose_artifact_is_gone_is_withdrawn_until_it_is_back(
        self, registry: Registry, database: SqlDatabase, trained: Trained
    ) -> None:
        versions = [registry.publish("a", trained(seed)) for seed in (1, 2)]
        registry.set_alias("a", "champion", 2)
        other = ObjectArtifactStore("memory://")
        other.put(versions[0].path, trained(1))
        moved = Registry(database, SqlModelRows(), other)
        moved.scan()
        assert [(version.version, version.aliases) for version in moved.versions("a")] == [(1, ("latest",))]
        assert moved.publish("a", trained(3)).version == 3
        other.put(versions[1].path, trained(2))
        moved.scan()
        assert [version.version for version in moved.versions("a")] == [1, 2, 3]
        assert moved.artifact(moved.resolve(ModelReference("a", version=2))) == trained(2)
        assert moved.resolve(ModelReference("a")).version == 3

    def test_of_two_files_in_one_place_one_is_taken_in(
        self, registry: Registry, store: ObjectArtifactStore, trained: Trained
    ) -> None:
        store.put("a/1/one.npz", trained(1))
        store.put("a/1/two.npz", trained(2))
        for _ in range(2):
            registry.scan()
            assert [version.version for version in registry.versions("a")] == [1]

    def test_another_artifact_in_the_place_of_one_that_is_gone_gets_a_number_of_its_own(
        self, database: SqlDatabase, trained: Trained
    ) -> None:
        """As after an update of what ships: what version 1 was must not change behind its number."""
        before, after = ObjectArtifactStore("memory://"), ObjectArtifactStore("memory://")
        before.put("a/1/old.npz", trained(1))
        Registry(database, SqlModelRows(), before).scan()
        after.put("a/1/new.npz", trained(2))
        registry = Registry(database, SqlModelRows(), after)
        for _ in range(2):
            registry.scan()
            (version,) = registry.versions("a")
            assert (version.version, version.path, version.aliases) == (2, "a/1/new.npz", ("latest",))
            assert registry.artifact(version) == trained(2)


class TestTakeFrom:
    def test_only_places_that_are_empty_are_filled(
        self, registry: Registry, store: ObjectArtifactStore, trained: Trained
    ) -> None:
        shipped = ObjectArtifactStore("memory://")
        shipped.put("a/1/shipped.npz", trained(1))
        shipped.put("b/1/shipped.npz", trained(1))
        shipped.put("pretrain.py", b"")
        store.put("a/1/own.npz", trained(2))
        registry.take_from(shipped)
        assert sorted(store.list()) == ["a/1/own.npz", "b/1/shipped.npz"]

    def test_a_name_that_ends_in_a_digit_is_not_taken_for_another(
        self, registry: Registry, store: ObjectArtifactStore, artifact: bytes
    ) -> None:
        shipped = ObjectArtifactStore("memory://")
        shipped.put("a/11/x.npz", artifact)
        store.put("a1/1/x.npz", artifact)
        registry.take_from(shipped)
        assert sorted(store.list()) == ["a/11/x.npz", "a1/1/x.npz"]


class TestResolve:
    def test_by_version_and_by_alias(self, registry: Registry, trained: Trained) -> None:
        for seed in (1, 2):
            registry.publish("a", trained(seed))
        registry.set_alias("a", "champion", 1)
        for text, number in {"a": 2, "a@latest": 2, "a@1": 1, "a@champion": 1}.items():
            assert registry.resolve(ModelReference.parse(text)).version == number

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("b", "there is no model 'b'"),
            ("a@7", "there is no a@7; the versions of a are 1, its aliases latest"),
            ("a@champion", "there is no a@champion; the versions of a are 1, its aliases latest"),
        ],
    )
    def test_what_is_not_there(self, text: str, said: str, registry: Registry, artifact: bytes) -> None:
        registry.publish("a", artifact)
        with pytest.raises(NotFound, match=said):
            registry.resolve(ModelReference.parse(text))


class TestArtifact:
    def test_one_that_was_changed_is_not_given(
        self, registry: Registry, store: ObjectArtifactStore, trained: Trained
    ) -> None:
        version = registry.publish("a", trained(1))
        store.put(version.path, trained(2))
        for get in (registry.artifact, registry.load):
            with pytest.raises(StorageError, match="a@1 is damaged"):
                get(version)


class TestAliases:
    def test_a_version_or_an_alias_that_is_not_there(self, registry: Registry, artifact: bytes) -> None:
        registry.publish("a", artifact)
        for act in (
            lambda: registry.set_alias("a", "champion", 7),
            lambda: registry.set_alias("b", "champion", 1),
            lambda: registry.delete_alias("a", "champion"),
            lambda: registry.alias_history("a", "champion"),
            lambda: registry.alias_history("b", "latest"),
        ):
            with pytest.raises(NotFound):
                act()

    @pytest.mark.parametrize("alias", ["7", "", "..", "Champion"])
    def test_what_cannot_name_one(self, alias: str, registry: Registry, artifact: bytes) -> None:
        registry.publish("a", artifact)
        with pytest.raises(InvalidInput):
            registry.set_alias("a", alias, 1)

    def test_latest_stays(self, registry: Registry, artifact: bytes) -> None:
        registry.publish("a", artifact)
        with pytest.raises(Conflict, match="latest"):
            registry.delete_alias("a", "latest")

    def test_the_history_outlives_the_alias(self, registry: Registry, artifact: bytes) -> None:
        registry.publish("a", artifact)
        registry.set_alias("a", "champion", 1)
        registry.delete_alias("a", "champion")
        assert [move.version for move in registry.alias_history("a", "champion")] == [None, 1]
