"""Health, metrics, request ids, problems and the OpenAPI document of a real server."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import get_args

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from nn.datasets import DATASETS
from nn.network import LAYERS
from nn.spec import InitializerName, LossName
from tests.integration.support import JSON, Server, get, is_problem, logged, until

MADE = re.compile(r"[0-9a-f]{32}")


def samples(http: httpx.Client) -> list[tuple[str, JSON, float]]:
    response = http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/plain")
    families = text_string_to_metric_families(response.text)
    return [(sample.name, sample.labels, sample.value) for family in families for sample in family.samples]


class TestHealth:
    def test_live_and_ready(self, http: httpx.Client) -> None:
        assert get(http, "/health/live") == {"status": "live"}
        assert get(http, "/health/ready") == {"status": "ready"}

    def test_not_ready_until_the_default_model_is_there(self, new_server: Callable[..., Server]) -> None:
        http = new_server(default_model="digits").http
        assert get(http, "/health/live") == {"status": "live"}
        response = http.get("/health/ready")
        is_problem(response, 503, "not ready", "there is no model 'digits'")
        assert response.headers["Retry-After"]
        is_problem(http.post("/predict", json={"inputs": [[0.5]]}), 404, "digits")

        artifact = http.get("/models/toy-regression/versions/1/artifact").content
        headers = {"Content-Type": "application/octet-stream"}
        assert http.post("/models/digits/versions", content=artifact, headers=headers).status_code == 201
        assert get(http, "/health/ready") == {"status": "ready"}
        assert http.post("/predict", json={"inputs": [[0.5]]}).json()["model"] == "digits"


class TestMetrics:
    def test_requests_are_counted_by_method_route_and_status(self, http: httpx.Client) -> None:
        def count() -> float:
            labels = {"method": "GET", "route": "/models/{name}", "status": "404"}
            return sum(value for name, told, value in samples(http) if (name, told) == ("http_requests_total", labels))

        before = count()
        for name in ("one", "two"):
            http.get(f"/models/{name}")
        until(lambda: count() == before + 2, "both are counted")

    def test_jobs_are_told_by_state(self, http: httpx.Client, occupied: str) -> None:
        states = {labels["state"]: value for name, labels, value in samples(http) if name == "trainserve_jobs"}
        assert set(states) == {"queued", "running", "succeeded", "failed", "cancelled"}
        assert states["running"] == 1

    def test_what_clients_make_up_does_not_become_a_label(self, http: httpx.Client) -> None:
        for made_up in range(30):
            http.get(f"/made-up-{made_up}")
            http.get(f"/jobs/made-up-{made_up}")
            http.get(f"/jobs?status=made-up-{made_up}")
            http.request(f"MADEUP{made_up}", "/jobs")
            http.post("/predict", headers={"Content-Type": f"image/made-up-{made_up}"})
        told = samples(http)
        assert not [labels for _, labels, _ in told if "made" in json.dumps(labels).lower()]
        routes = {labels["route"] for _, labels, _ in told if "route" in labels}
        known = {*get(http, "/openapi.json")["paths"], "/openapi.json", "unmatched"}
        assert routes <= known


class TestRequestID:
    @pytest.mark.parametrize("given", ["a", "0f9e-1.b_C", "x" * 128])
    def test_it_is_taken_over(self, given: str, http: httpx.Client) -> None:
        assert http.get("/health/live", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given

    @pytest.mark.parametrize("given", ["", "a b", "x" * 129, "a;b", "<script>", "%0d%0aX: y", "é", "a\tb"])
    def test_a_hostile_one_is_replaced(self, given: str, http: httpx.Client) -> None:
        response = http.get("/health/live", headers=[(b"X-Request-ID", given.encode())])
        assert response.status_code == 200
        assert MADE.fullmatch(response.headers["X-Request-ID"])

    def test_every_answer_has_one_of_its_own(self, http: httpx.Client) -> None:
        paths = ("/health/live", "/nothing", "/metrics", "/jobs/x")
        assert len({http.get(path).headers["X-Request-ID"] for path in paths}) == len(paths)

    def test_it_is_in_the_log(self, server: Server) -> None:
        server.http.get("/jobs/unheard-of", headers={"X-Request-ID": "find-me"})
        line = logged(server, "find-me")
        told = (line["action"], line["method"], line["path"], line["status"])
        assert told == ("request", "GET", "/jobs/unheard-of", 404)


class TestProblems:
    @pytest.mark.parametrize(
        ("method", "path", "body", "status"),
        [
            ("POST", "/predict", b"{", 400),
            ("GET", "/nothing", None, 404),
            ("GET", "/jobs/unheard-of", None, 404),
            ("GET", "/models/unheard-of", None, 404),
            ("PATCH", "/jobs", None, 405),
            ("DELETE", "/models/mnist", None, 405),
            ("BREW", "/predict", None, 405),
            ("DELETE", "/models/mnist/aliases/latest", None, 409),
            ("POST", "/predict", b"\0" * (2 * 2**20 + 1), 413),
            ("POST", "/jobs", b"{}", 422),
            ("GET", "/jobs?limit=0", None, 422),
        ],
    )
    def test_every_refusal_is_a_problem_document(
        self, method: str, path: str, body: bytes | None, status: int, http: httpx.Client
    ) -> None:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        is_problem(http.request(method, path, content=body, headers=headers), status)
        if body is not None:
            is_problem(http.request(method, path, content=body), 415)

    def test_a_method_that_is_not_for_the_address_is_told_those_that_are(self, http: httpx.Client) -> None:
        response = http.request("PATCH", "/jobs")
        assert {method.strip() for method in response.headers["Allow"].split(",")} == {"GET", "POST"}

    def test_the_places_in_the_body_are_told(self, http: httpx.Client, unchanged: None) -> None:
        network = {"layers": [{"type": "dense", "units": 0}, {"type": "relu", "slope": 1}]}
        body = is_problem(
            http.post("/jobs", json={"dataset": "heart", "network": network, "training": {"epochs": 0}}), 422
        )
        pointers = [error["pointer"] for error in body["errors"]]
        assert pointers == ["#/network/layers/0/units", "#/network/layers/1/slope", "#/training/epochs"]
        assert all(len(error["detail"]) > 10 for error in body["errors"])
        assert "2 more" in body["detail"]


class TestOpenAPI:
    def test_every_address_is_described(self, http: httpx.Client) -> None:
        document = get(http, "/openapi.json")
        assert document["openapi"].startswith("3.")
        assert {(method.upper(), path) for path, methods in document["paths"].items() for method in methods} == {
            ("POST", "/jobs"),
            ("GET", "/jobs"),
            ("GET", "/jobs/{job_id}"),
            ("DELETE", "/jobs/{job_id}"),
            ("GET", "/jobs/{job_id}/history"),
            ("GET", "/jobs/{job_id}/events"),
            ("POST", "/jobs/{job_id}/cancel"),
            ("POST", "/predict"),
            ("GET", "/models"),
            ("GET", "/models/{name}"),
            ("GET", "/models/{name}/versions/{version}"),
            ("GET", "/models/{name}/versions/{version}/artifact"),
            ("POST", "/models/{name}/versions"),
            ("PUT", "/models/{name}/aliases/{alias}"),
            ("DELETE", "/models/{name}/aliases/{alias}"),
            ("GET", "/models/{name}/aliases/{alias}/history"),
            ("GET", "/models/{name}/example"),
            ("GET", "/health/live"),
            ("GET", "/health/ready"),
            ("GET", "/metrics"),
        }

    def test_it_names_all_that_a_job_may_ask_for(self, http: httpx.Client) -> None:
        schema = get(http, "/openapi.json")["paths"]["/jobs"]["post"]["requestBody"]["content"]["application/json"][
            "schema"
        ]
        (layer,) = [schema["properties"]["network"]["properties"]["layers"]["items"]]
        kinds = {kind for choice in layer["anyOf"] for kind in choice["properties"]["type"]["enum"]}
        assert kinds == set(LAYERS)
        dense = next(choice for choice in layer["anyOf"] if "dense" in choice["properties"]["type"]["enum"])
        assert dense["properties"]["initializer"]["enum"] == list(get_args(InitializerName))
        assert schema["properties"]["training"]["properties"]["loss"]["enum"] == list(get_args(LossName))
        assert schema["properties"]["dataset"]["enum"] == list(DATASETS)
        assert schema["required"] == ["dataset"]

    def test_the_page_for_people(self, http: httpx.Client) -> None:
        response = http.get("/docs")
        assert response.status_code == 200
        assert "/openapi.json" in response.text
