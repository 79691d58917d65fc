from __future__ import annotations

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from nn.model import Model
from service.artifacts import ObjectArtifactStore
from service.domain import ModelVersion
from service.errors import InvalidInput, NotFound, StorageError
from service.inference.decode import JSONBody
from service.inference.predictor import Predictor
from service.registry import Registry
from service.store import SqlDatabase, SqlModelRows

Trained = Callable[[int], bytes]


def question(**more: object) -> JSONBody:
    return JSONBody(json.dumps({"inputs": [[0.35], [0.7]], **more}).encode())


class CountingRegistry(Registry):
    """Notes what is loaded."""

    def __init__(self, database: SqlDatabase, store: ObjectArtifactStore) -> None:
        super().__init__(database, SqlModelRows(), store)
        self.loads: list[str] = []

    def load(self, version: ModelVersion) -> Model:
        self.loads.append(f"{version.name}@{version.version}")
        return super().load(version)


@pytest.fixture
def registry(database: SqlDatabase, store: ObjectArtifactStore, trained: Trained) -> CountingRegistry:
    registry = CountingRegistry(database, store)
    for name, seed in [("a", 1), ("a", 2), ("b", 3)]:
        registry.publish(name, trained(seed))
    return registry


@pytest.fixture
def predictor(registry: CountingRegistry) -> Predictor:
    return Predictor(registry, default_model="a", max_loaded=2, max_samples=3)


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        (None, {}, ("a", 2)),
        ("b", {}, ("b", 1)),
        ("a@1", {}, ("a", 1)),
        (None, {"model": "b"}, ("b", 1)),
        ("a@1", {"model": "a@1"}, ("a", 1)),
    ],
)
def test_the_model_is_that_of_the_query_the_body_or_the_default(
    query: str | None, body: dict[str, str], expected: tuple[str, int], predictor: Predictor
) -> None:
    answer = predictor.predict(query, question(**body))
    assert (answer["model"], answer["version"]) == expected
    assert len(answer["predictions"]) == 2


@pytest.mark.parametrize(
    ("name", "error"), [("c", NotFound), ("a@7", NotFound), ("../a", InvalidInput), ("", InvalidInput)]
)
def test_a_model_that_is_not_there(name: str, error: type[Exception], predictor: Predictor) -> None:
    with pytest.raises(error):
        predictor.predict(name, question())


def test_two_names_for_the_model_are_one_too_many(predictor: Predictor) -> None:
    with pytest.raises(InvalidInput, match="name one model"):
        predictor.predict("a@1", question(model="b"))


def test_what_was_used_last_stays_loaded(predictor: Predictor, registry: CountingRegistry) -> None:
    for name in ("a@1", "a@2", "a@1", "b", "a@1", "a@2"):
        predictor.predict(name, question())
        assert predictor.loaded <= 2
    assert registry.loads == ["a@1", "a@2", "b@1", "a@2"]


def test_a_new_version_is_used_from_the_moment_it_is_published(
    predictor: Predictor, registry: CountingRegistry, trained: Trained
) -> None:
    assert predictor.predict(None, question())["version"] == 2
    registry.publish("a", trained(4))
    assert predictor.predict(None, question())["version"] == 3


def test_many_at_once_load_a_version_once_and_get_the_same_answer(
    predictor: Predictor, registry: CountingRegistry
) -> None:
    barrier = threading.Barrier(8)

    def ask(_: int) -> float:
        barrier.wait()
        return float(predictor.predict("b", question())["predictions"][0]["value"][0])

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ask, range(8)))) == 1
    assert registry.loads == ["b@1"]


def test_the_check_loads_the_default(predictor: Predictor, registry: CountingRegistry) -> None:
    predictor.check()
    assert registry.loads == ["a@2"]
    with pytest.raises(NotFound, match="no model 'nope'"):
        Predictor(registry, default_model="nope", max_loaded=1, max_samples=3).check()


def test_a_damaged_artifact_is_not_kept(
    predictor: Predictor, registry: CountingRegistry, store: ObjectArtifactStore, trained: Trained
) -> None:
    path = registry.versions("b")[0].path
    store.put(path, b"damaged")
    with pytest.raises(StorageError):
        predictor.predict("b", question())
    store.put(path, trained(3))
    assert predictor.predict("b", question())["version"] == 1


def test_a_request_has_a_limit_of_samples(predictor: Predictor) -> None:
    assert len(predictor.predict(None, question(inputs=[[1]] * 3))["predictions"]) == 3
    with pytest.raises(InvalidInput, match="at most 3 samples in a request; got 4"):
        predictor.predict(None, question(inputs=[[1]] * 4))
