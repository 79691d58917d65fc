"""`service.client` against a real server: one text for the plain client and the one that is awaited."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from PIL import Image

from nn.features import Raw
from service.client import AsyncClient, Client, ProblemError
from tests.integration.support import ENDLESS, JSON, Server, cancel, encoded, get, submit


class Caller:
    """Calls operations of either client by name, and waits for their results."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        self.url = url

    def __call__(self, operation: str, *arguments: Any, **options: Any) -> Any:
        if self.kind == "plain":
            with Client(self.url) as client:
                return getattr(client, operation)(*arguments, **options)

        async def call() -> Any:
            async with AsyncClient(self.url) as client:
                return await getattr(client, operation)(*arguments, **options)

        return asyncio.run(call())


@pytest.fixture(params=["plain", "awaited"])
def call(request: pytest.FixtureRequest, server: Server) -> Caller:
    return Caller(request.param, server.url)


def test_a_job_from_submit_to_prediction(call: Caller, http: httpx.Client) -> None:
    name = f"by-{call.kind}"
    job = call("submit", "toy-regression", model=name, training={"epochs": 3}, metadata={"by": call.kind})
    assert (job["status"], job["metadata"]) == ("queued", {"by": call.kind})
    seen: list[JSON] = []
    ended = call("wait", job["id"], timeout=30, every=0.05, on_progress=seen.append)
    assert ended["status"] == "succeeded"
    assert seen[-1] == ended == call("job", job["id"])
    assert [row["epoch"] for row in call("history", job["id"])] == [1, 2, 3]
    assert [event["id"] for event in call("events", job["id"], after=2, limit=2)["data"]] == [3, 4]
    assert call("events", job["id"], after=100, wait=5)["data"] == []
    assert [listed["id"] for listed in call("jobs", model=name, status="succeeded")["data"]] == [job["id"]]
    assert call("model", name)["aliases"] == {"latest": 1}
    assert name in [model["name"] for model in call("models")]
    answer = call("predict", [[0.35], [0.7]], model=f"{name}@1")
    assert (answer["version"], len(answer["predictions"])) == (1, 2)
    assert call("delete", job["id"]) is None
    assert call("jobs", model=name) == {"object": "list", "data": [], "has_more": False}


def test_a_network_and_a_key_of_ones_own(call: Caller, http: httpx.Client, occupied: str) -> None:
    layers = [
        {"type": "dense", "units": 3, "initializer": "xavier"},
        {"type": "dense", "units": 1, "initializer": "he"},
    ]
    ask = {"network": {"layers": layers}, "idempotency_key": f"client-{call.kind}"}
    job = call("submit", "toy-regression", **ask)
    assert job["spec"]["network"]["layers"] == layers
    assert call("submit", "toy-regression", **ask)["id"] == job["id"]
    with pytest.raises(ProblemError) as caught:
        call("submit", "heart", idempotency_key=ask["idempotency_key"])
    assert caught.value.status == 409
    assert call("cancel", job["id"])["status"] == "cancelled"


def test_waiting_has_an_end(call: Caller, http: httpx.Client) -> None:
    job = submit(http, **ENDLESS)["id"]
    with pytest.raises(TimeoutError, match=f"{job} is still .* after 0.3 seconds"):
        call("wait", job, timeout=0.3, every=0.1)
    cancel(http, job)
    assert call("wait", job)["status"] == "cancelled"


def test_predictions_of_pictures_and_records(call: Caller, http: httpx.Client, digits: tuple[Raw, list[int]]) -> None:
    pictures, truth = digits
    picture = Image.fromarray(pictures[0])
    (told,) = call("predict_picture", encoded(picture), explain=True)["predictions"]
    assert (told["label"], set(told["saw"])) == (truth[0], {"png"})
    answer = call("predict_picture", encoded(picture, "BMP"), content_type="image/bmp", model="mnist@1")
    assert answer["predictions"][0]["label"] == truth[0]
    records = get(http, "/models/heart/example")["records"]
    assert call("predict", records=records, model="heart")["predictions"][0]["label"] in (0, 1)


def test_an_artifact_goes_out_and_comes_in_again(call: Caller, http: httpx.Client) -> None:
    artifact = call("artifact", "toy-regression", 1)
    assert artifact == http.get("/models/toy-regression/versions/1/artifact").content
    name = f"uploaded-by-{call.kind}"
    version = call("upload", name, artifact)
    assert call("version", name, 1) == version
    assert (version["name"], version["version"]) == (name, 1)
    assert call("set_alias", name, "champion", 1)["aliases"] == ["champion", "latest"]


def test_a_refusal_is_an_error_with_all_that_the_server_told(call: Caller) -> None:
    with pytest.raises(ProblemError) as caught:
        call("submit", "heart", training={"epochs": 0, "batch_size": 0})
    assert caught.value.status == 422
    assert caught.value.problem["type"] == "/problems/invalid-spec"
    text = str(caught.value)
    assert "#/training/epochs: expected a whole number at least 1" in text
    assert "#/training/batch_size: expected a whole number at least 1" in text
    with pytest.raises(ProblemError, match="there is no job 'x'"):
        call("job", "x")


@pytest.mark.parametrize("kind", ["plain", "awaited"])
def test_where_no_server_is(kind: str) -> None:
    with pytest.raises(httpx.TransportError):
        Caller(kind, "http://127.0.0.1:9")("models")
