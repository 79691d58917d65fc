"""`/jobs` of a real server: submit, follow, list, cancel, delete."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import Any, Literal, get_args, get_origin

import httpx
import numpy as np
import pytest
from PIL import Image

import nn
from nn.datasets import DATASETS
from nn.features import Raw
from nn.network import LAYERS
from nn.schema import fields_of, type_names
from nn.spec import OptimizerSpec, ScheduleSpec
from tests.integration.support import (
    ENDLESS,
    JSON,
    Server,
    ask,
    cancel,
    encoded,
    get,
    is_problem,
    newest,
    npy,
    submit,
    until,
    wait,
)

FIELDS = {
    "object", "id", "status", "dataset", "model", "created_at", "started_at", "finished_at", "estimated_finish",
    "progress", "attempt", "error", "result", "spec", "metadata",
}  # fmt: skip
SMALL_MNIST = {"layers": [{"type": "dense", "units": 8}, {"type": "relu"}, {"type": "dense", "units": 10}]}


def at(text: str) -> datetime:
    assert text.endswith("Z")
    return datetime.fromisoformat(text)


def test_submitting_answers_202_with_the_whole_job_and_its_place(http: httpx.Client, occupied: str) -> None:
    body = {"dataset": "heart", "model": "mine", "training": {"epochs": 3}, "metadata": {"who": "you ☃", "n": [1.5]}}
    response = http.post("/jobs", json=body)
    assert response.status_code == 202
    job = response.json()
    assert response.headers["Location"] == f"/jobs/{job['id']}"
    assert get(http, response.headers["Location"]) == job
    assert set(job) >= FIELDS
    assert (job["object"], job["status"], job["dataset"], job["model"]) == ("training.job", "queued", "heart", "mine")
    assert job["metadata"] == body["metadata"]
    assert job["progress"] == {"percent": 0.0, "epoch": 0, "epochs": 3, "step": 0, "loss": None}
    assert abs(at(job["created_at"]) - datetime.now(UTC)) < timedelta(seconds=30)
    empty = ("started_at", "finished_at", "estimated_finish", "error", "result")
    assert [job[name] for name in empty] == [None] * len(empty)
    cancel(http, job["id"])


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_data_set_alone_is_enough(dataset: str, http: httpx.Client, occupied: str) -> None:
    job = submit(http, dataset)
    assert job["model"] == dataset
    assert job["spec"]["network"]["layers"][0]["units"] > 0
    assert set(job["spec"]["training"]) == {field.name for field in dataclasses.fields(nn.TrainingSpec)}
    cancel(http, job["id"])


@pytest.mark.parametrize(
    ("dataset", "body", "metric"),
    [
        ("heart", {"training": {"epochs": 3}}, "accuracy"),
        ("toy-regression", {"training": {"epochs": 3, "validation_fraction": 0}}, "r2"),
        ("mnist", {"network": SMALL_MNIST, "training": {"epochs": 2, "batch_size": 100}}, "accuracy"),
    ],
)
def test_a_job_makes_a_version_that_predicts(dataset: str, body: JSON, metric: str, http: httpx.Client) -> None:
    model = f"trained-{dataset}"
    before = newest(http, model)
    job = wait(http, submit(http, dataset, model=model, **body)["id"], "succeeded")
    epochs = body["training"]["epochs"]
    assert at(job["created_at"]) <= at(job["started_at"]) <= at(job["finished_at"])
    assert (job["progress"]["percent"], job["progress"]["epoch"], job["attempt"]) == (100, epochs, 1)
    assert (job["estimated_finish"], job["error"]) == (None, None)

    result = job["result"]
    assert (result["model"], result["version"]) == (model, before + 1)
    assert math.isfinite(result["metrics"][f"test_{metric}"])
    version = get(http, f"/models/{model}/versions/{before + 1}")
    assert (version["job"], version["sha256"]) == (job["id"], result["sha256"])
    assert version["spec"] == job["spec"]

    rows = get(http, f"/jobs/{job['id']}/history")["epochs"]
    assert [row["epoch"] for row in rows] == list(range(1, epochs + 1))
    with_validation = body["training"].get("validation_fraction") != 0
    assert {f"validation_{metric}" in row for row in rows} == {with_validation}
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert ("accuracy" in rows[0]) == (metric == "accuracy"), "a metric that the task does not have is absent"
    assert rows[-1]["loss"] < rows[0]["loss"]

    answer = http.post(f"/predict?model={model}", json=get(http, f"/models/{model}/example"))
    assert (answer.status_code, answer.json()["version"]) == (200, before + 1)


def layer(kind: str, **fields: object) -> JSON:
    return {"type": kind, **fields}


# The two have every kind of layer; the first ends in softmax, the second in what goes into it.
FLATTENED = [
    *(layer("conv2d", filters=3, stride=3, padding="same"), layer("batch_norm"), layer("leaky_relu")),
    *(layer("max_pool2d"), layer("conv2d", filters=4), layer("gelu"), layer("average_pool2d"), layer("flatten")),
    *(layer("dropout", rate=0.1), layer("dense", units=16, initializer="xavier"), layer("elu"), layer("batch_norm")),
    *(layer("dense", units=16), layer("softplus"), layer("dense", units=10), layer("softmax")),
]
AVERAGED = [
    *(layer("conv2d", filters=8, kernel_size=5, stride=4), layer("relu"), layer("identity")),
    *(layer("global_average_pool2d"), layer("dense", units=8), layer("tanh"), layer("dense", units=8)),
    *(layer("sigmoid"), layer("dense", units=10)),
]
TENTH_OF_MNIST = {"validation_fraction": 0.9, "batch_size": 64, "epochs": 2, "early_stopping": None}


class TestPictures:
    """Networks with layers for pictures, from the request to an answer."""

    def test_between_them_the_networks_have_every_layer_that_there_is(self) -> None:
        assert {described["type"] for described in FLATTENED + AVERAGED} == set(LAYERS)

    @pytest.mark.parametrize(
        ("layers", "training"),
        [
            (
                FLATTENED,
                {
                    "optimizer": {"type": "adam", "weight_decay": 0.0001},
                    "schedule": {"type": "one_cycle"},
                    "augmentation": {"shift": 1, "rotation": 5, "scale": 0.05, "shear": 3, "elastic": 0.5},
                    "label_smoothing": 0.05,
                    "clip_norm": 5,
                },
            ),
            (
                AVERAGED,
                {
                    "optimizer": {"type": "rmsprop"},
                    "schedule": {"type": "cosine", "warm_up": 0.1},
                    "class_weights": [1, 1, 1, 1, 1, 1, 1, 1, 2, 2],
                },
            ),
        ],
        ids=["flattened", "averaged"],
    )
    def test_a_job_makes_a_version_that_reads_digits(
        self, layers: list[JSON], training: JSON, http: httpx.Client, digits: tuple[Raw, list[int]]
    ) -> None:
        before = newest(http, "convolutional")
        asked = {"network": {"layers": layers}, "training": TENTH_OF_MNIST | training}
        job = wait(http, submit(http, "mnist", model="convolutional", **asked)["id"], "succeeded")
        rows = get(http, f"/jobs/{job['id']}/history")["epochs"]
        assert [row["epoch"] for row in rows] == [1, 2]
        assert rows[1]["loss"] < rows[0]["loss"]
        assert rows[1]["learning_rate"] < rows[0]["learning_rate"], "the schedule has moved it"
        assert job["result"]["version"] == before + 1
        version = get(http, f"/models/convolutional/versions/{before + 1}")
        assert version["spec"] == job["spec"]
        described = version["spec"]["network"]["layers"]
        assert [found.items() >= one.items() for found, one in zip(described, layers, strict=True)] == [True] * len(
            layers
        )

        pictures, labels = digits
        model = nn.loads(http.get(f"/models/convolutional/versions/{before + 1}/artifact").content)
        expected = model.predict(pictures[:100].reshape(100, -1))
        answer = ask(http, npy(pictures[:100]), "application/x-npy", model=f"convolutional@{before + 1}").json()
        found = np.array([one["probabilities"] for one in answer["predictions"]])
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
        right = np.mean([one["label"] == label for one, label in zip(answer["predictions"], labels, strict=False)])
        assert right == pytest.approx(job["result"]["metrics"]["test_accuracy"], abs=0.2)
        picture = encoded(Image.fromarray(pictures[0]))
        assert ask(http, picture, "image/png", model="convolutional").json()["predictions"][0]["label"] in range(10)
        example = get(http, "/models/convolutional/example")
        assert http.post("/predict?model=convolutional", json=example).status_code == 200


OPTIMIZERS = [name for kind in get_args(OptimizerSpec) for name in type_names(kind)]
SCHEDULES = [name for kind in get_args(ScheduleSpec) for name in type_names(kind)]


class TestNames:
    """Whatever the engine knows by name can be asked for, and stands in the description of the service."""

    def test_every_optimizer_and_every_schedule_trains(self, http: httpx.Client) -> None:
        jobs = []
        for optimizer, schedule in zip_longest(OPTIMIZERS, SCHEDULES, fillvalue="sgd"):
            training = {"epochs": 2, "optimizer": {"type": optimizer}, "schedule": {"type": schedule}}
            jobs.append(submit(http, model="every", training=training))
        assert len(jobs) == max(len(OPTIMIZERS), len(SCHEDULES))
        for job in jobs:
            ended = wait(http, job["id"], "succeeded")
            assert ended["spec"] == job["spec"]
            assert math.isfinite(ended["result"]["metrics"]["test_loss"])

    def test_all_of_them_are_described(self, http: httpx.Client) -> None:
        content = get(http, "/openapi.json")["paths"]["/jobs"]["post"]["requestBody"]["content"]["application/json"]
        described = set(enumerated(content["schema"]))
        known = set(names(nn.NetworkSpec)) | set(names(nn.TrainingSpec))
        assert known > {*LAYERS, *OPTIMIZERS, *SCHEDULES}
        assert described == known | set(DATASETS)

    @pytest.mark.parametrize("kind", [nn.NetworkSpec, nn.TrainingSpec])
    def test_so_are_all_fields(self, kind: type, http: httpx.Client) -> None:
        content = get(http, "/openapi.json")["paths"]["/jobs"]["post"]["requestBody"]["content"]["application/json"]
        part = "network" if kind is nn.NetworkSpec else "training"
        described = content["schema"]["properties"][part]
        assert set(described["properties"]) == {field.name for field in dataclasses.fields(kind)}
        assert described["additionalProperties"] is False


def names(kind: Any) -> Iterator[str]:
    """Every word that a dataclass, or what its fields are made of, takes."""
    if get_origin(kind) is Literal:
        yield from get_args(kind)
    elif dataclasses.is_dataclass(kind):
        for _, hint in fields_of(kind):  # type: ignore[arg-type]
            yield from names(hint)
    else:
        for part in get_args(kind):
            yield from names(part)


def enumerated(schema: Any) -> Iterator[str]:
    """Every word in an `enum` of a JSON Schema."""
    if isinstance(schema, dict):
        yield from schema.get("enum", [])
        for part in schema.values():
            yield from enumerated(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from enumerated(part)


def test_jobs_after_one_another_make_versions_after_one_another(http: httpx.Client) -> None:
    ids = [submit(http, model="row", training={"epochs": 1, "seed": seed})["id"] for seed in (1, 2, 2)]
    results = [wait(http, job_id, "succeeded")["result"] for job_id in ids]
    assert [result["version"] for result in results] == [1, 2, 3]
    assert results[0]["sha256"] != results[1]["sha256"]
    assert results[1]["sha256"] == results[2]["sha256"], "the same description gives the same bytes"
    assert get(http, "/models/row")["aliases"] == {"latest": 3}


def test_a_running_job_tells_how_far_it_is(http: httpx.Client, occupied: str) -> None:
    def second_epoch() -> JSON | None:
        job: JSON = get(http, f"/jobs/{occupied}")
        return job if job["progress"]["epoch"] >= 2 else None

    job = until(second_epoch, "the second epoch is done")
    progress = job["progress"]
    assert job["status"] == "running"
    assert job["finished_at"] is None
    assert 0 <= progress["percent"] < 1
    assert progress["step"] > 0
    assert 0 < progress["loss"] < 3
    assert 0 < progress["accuracy"] <= 1
    assert progress["seconds_per_epoch"] > 0
    assert at(job["estimated_finish"]) > datetime.now(UTC) + timedelta(minutes=1)


def test_a_run_that_diverges_fails_with_its_epoch_and_makes_no_version(http: httpx.Client) -> None:
    training = {"epochs": 5, "optimizer": {"type": "sgd", "learning_rate": 1000}}
    job = wait(http, submit(http, model="wild", training=training)["id"], "failed")
    assert job["error"]["code"] == "diverged"
    assert job["error"]["epoch"] == 1
    assert "lower the learning rate" in job["error"]["message"]
    assert job["result"] is None
    assert get(http, f"/jobs/{job['id']}/history")["epochs"] == []
    assert newest(http, "wild") == 0


class TestList:
    @pytest.fixture
    def queued(self, http: httpx.Client, occupied: str) -> Any:
        ids = [submit(http, model="listed")["id"] for _ in range(5)]
        yield ids
        for job_id in ids:
            cancel(http, job_id)
            assert http.delete(f"/jobs/{job_id}").status_code == 204

    def test_newest_first_page_by_page(self, http: httpx.Client, queued: list[str]) -> None:
        seen: list[str] = []
        more: list[bool] = []
        while not more or more[-1]:
            page = get(http, "/jobs", model="listed", limit=2, **({"after": seen[-1]} if seen else {}))
            assert page["object"] == "list"
            seen += [job["id"] for job in page["data"]]
            more.append(page["has_more"])
        assert seen == queued[::-1]
        assert more == [True, True, False]
        assert get(http, "/jobs", model="listed", limit=5)["has_more"] is False

    def test_by_status(self, http: httpx.Client, occupied: str, queued: list[str]) -> None:
        def listed(**params: str) -> list[str]:
            return [job["id"] for job in get(http, "/jobs", **params)["data"]]

        cancel(http, queued[0])
        assert listed(status="running") == [occupied]
        assert listed(status="queued", model="listed") == queued[:0:-1]
        assert listed(status="cancelled", model="listed") == queued[:1]
        assert listed(status="succeeded", model="listed") == []
        assert listed(model="unheard-of") == []

    @pytest.mark.parametrize(
        ("query", "status", "told"),
        [
            ("limit=0", 422, "limit"),
            ("limit=101", 422, "limit"),
            ("limit=x", 422, "limit"),
            ("status=asleep", 422, "expected one of queued, running"),
            ("after=unheard-of", 404, "there is no job"),
        ],
    )
    def test_what_it_does_not_take(self, query: str, status: int, told: str, http: httpx.Client) -> None:
        is_problem(http.get(f"/jobs?{query}"), status, told)


class TestIdempotency:
    def test_the_same_key_and_body_are_the_same_job(self, http: httpx.Client, occupied: str) -> None:
        headers = {"Idempotency-Key": "the-same", "Content-Type": "application/json"}
        bodies = (b'{"dataset": "heart", "model": "heart"}', b'{ "model":"heart","dataset":"heart"}')
        first, second = (http.post("/jobs", content=body, headers=headers) for body in bodies)
        assert (first.status_code, second.status_code) == (202, 202)
        assert first.json() == second.json()
        assert first.headers["Location"] == second.headers["Location"]
        cancel(http, first.json()["id"])

    def test_the_same_key_and_another_body_are_a_conflict(self, http: httpx.Client, occupied: str) -> None:
        headers = {"Idempotency-Key": "another"}
        job = http.post("/jobs", json={"dataset": "heart"}, headers=headers).json()
        is_problem(http.post("/jobs", json={"dataset": "mnist"}, headers=headers), 409, job["id"], "Idempotency-Key")
        cancel(http, job["id"])

    def test_at_the_same_instant_one_job_is_made(self, http: httpx.Client, occupied: str) -> None:
        def post(_: int) -> httpx.Response:
            return http.post("/jobs", json={"dataset": "heart"}, headers={"Idempotency-Key": "at-once"})

        with ThreadPoolExecutor(8) as pool:
            responses = list(pool.map(post, range(8)))
        assert {response.status_code for response in responses} == {202}
        (job_id,) = {response.json()["id"] for response in responses}
        cancel(http, job_id)

    @pytest.mark.parametrize("key", ["", "x" * 256])
    def test_a_key_is_neither_empty_nor_endless(self, key: str, http: httpx.Client, unchanged: None) -> None:
        is_problem(http.post("/jobs", json={"dataset": "heart"}, headers={"Idempotency-Key": key}), 422)


def test_a_queued_job_is_cancelled_at_once(http: httpx.Client, occupied: str) -> None:
    job = submit(http)
    response = http.post(f"/jobs/{job['id']}/cancel")
    assert (response.status_code, response.json()["status"]) == (200, "cancelled")
    assert response.json()["started_at"] is None
    assert response.json()["finished_at"] is not None


def test_a_running_job_and_its_process_end_within_two_seconds(server: Server) -> None:
    http = server.http
    job = submit(http, **ENDLESS)
    wait(http, job["id"], "running")
    until(server.children, "the training process is there")
    asked = time.monotonic()
    response = http.post(f"/jobs/{job['id']}/cancel")
    assert (response.status_code, response.json()["status"]) == (200, "cancelling")
    ended = wait(http, job["id"], "cancelled", seconds=2)
    until(lambda: not server.children(), "the training process is gone", 2 - (time.monotonic() - asked))
    assert (ended["error"], ended["result"]) == (None, None)


def test_an_ended_job_cannot_be_cancelled(http: httpx.Client) -> None:
    job = submit(http, model="ended", training={"epochs": 1})
    wait(http, job["id"], "succeeded")
    is_problem(http.post(f"/jobs/{job['id']}/cancel"), 409, "succeeded")
    assert get(http, f"/jobs/{job['id']}")["status"] == "succeeded"


def test_only_an_ended_job_is_deleted(http: httpx.Client, occupied: str) -> None:
    queued = submit(http)["id"]
    is_problem(http.delete(f"/jobs/{occupied}"), 409, "running", "cancel it first")
    is_problem(http.delete(f"/jobs/{queued}"), 409, "queued", "cancel it first")
    cancel(http, queued)
    assert http.delete(f"/jobs/{queued}").status_code == 204
    for path in ("", "/history", "/events"):
        is_problem(http.get(f"/jobs/{queued}{path}"), 404)
    is_problem(http.delete(f"/jobs/{queued}"), 404)


def test_the_version_that_a_deleted_job_made_stays(http: httpx.Client) -> None:
    job = wait(http, submit(http, model="kept", training={"epochs": 1})["id"], "succeeded")
    assert http.delete(f"/jobs/{job['id']}").status_code == 204
    version = get(http, "/models/kept/versions/1")
    assert (version["job"], version["sha256"]) == (job["id"], job["result"]["sha256"])
    assert http.post("/predict", json={"model": "kept", "inputs": [[0.35]]}).json()["version"] == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", ""), ("GET", "/history"), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", "")],
)
@pytest.mark.parametrize("job_id", ["unheard-of", "%00", "..", "x" * 5000])
def test_an_unknown_job_is_404(method: str, path: str, job_id: str, http: httpx.Client) -> None:
    is_problem(http.request(method, f"/jobs/{job_id.replace('..', '%2e%2e')}{path}"), 404, "there is no job")
