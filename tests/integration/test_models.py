"""`/models` of a real server: versions, artifacts, uploads, aliases."""

from __future__ import annotations

import hashlib
import io
import uuid
import zipfile
from collections.abc import Callable
from datetime import datetime

import httpx
import pytest

import nn
from nn.datasets import DATASETS
from tests.integration.support import JSON, get, is_problem

FIELDS = {
    "name", "version", "created_at", "job", "sha256", "size", "task", "inputs", "outputs", "metrics", "spec",
    "dataset_sha256", "seed", "library_versions", "aliases",
}  # fmt: skip
NPZ = {"Content-Type": "application/octet-stream"}


@pytest.fixture(scope="module")
def artifact(http: httpx.Client) -> bytes:
    """The bytes of a model that answers quickly."""
    return http.get("/models/toy-regression/versions/1/artifact").content


def upload(http: httpx.Client, name: str, data: bytes) -> JSON:
    response = http.post(f"/models/{name}/versions", content=data, headers=NPZ)
    assert response.status_code == 201, response.text
    version: JSON = response.json()
    return version


class TestWhatIsThere:
    def test_every_model_with_its_versions_and_aliases(self, http: httpx.Client) -> None:
        index = get(http, "/models")
        assert index["object"] == "list"
        found = {model["name"]: model for model in index["data"]}
        assert set(DATASETS) <= set(found)
        for name in DATASETS:
            assert found[name] == get(http, f"/models/{name}")
            assert found[name]["aliases"] == {"latest": 1}
            assert [version["version"] for version in found[name]["versions"]] == [1]

    @pytest.mark.parametrize(
        ("name", "task", "kind", "metric", "least"),
        [
            ("mnist", "classification", "picture", "test_accuracy", 0.98),
            ("heart", "binary_classification", "table", "test_accuracy", 0.7),
            ("toy-regression", "regression", "numbers", "test_r2", 0.9),
        ],
    )
    def test_a_version_tells_where_it_came_from(
        self, name: str, task: str, kind: str, metric: str, least: float, http: httpx.Client
    ) -> None:
        version = get(http, f"/models/{name}/versions/1")
        assert version.pop("summary")
        assert version == get(http, f"/models/{name}")["versions"][0]
        assert set(version) >= FIELDS
        assert (version["name"], version["version"], version["job"], version["task"]) == (name, 1, None, task)
        assert version["inputs"]["kind"] == kind
        assert version["metrics"][metric] >= least
        assert version["spec"]["training"]["seed"] == version["seed"]
        assert len(version["sha256"]) == len(version["dataset_sha256"]) == 64
        assert set(version["library_versions"]) >= {"numpy", "python", "trainserve"}
        assert version["aliases"] == ["latest"]
        assert datetime.fromisoformat(version["created_at"]).tzinfo is not None

    @pytest.mark.parametrize(
        ("name", "input_shape"), [("mnist", [28, 28, 1]), ("heart", [23]), ("toy-regression", [1])]
    )
    def test_a_version_is_told_layer_by_layer(self, name: str, input_shape: list[int], http: httpx.Client) -> None:
        version = get(http, f"/models/{name}/versions/1")
        summary = version["summary"]
        assert summary["input_shape"] == input_shape
        layers = summary["layers"]
        described = version["spec"]["network"]["layers"]
        assert [layer["type"] for layer in layers] == [layer["type"] for layer in described]
        assert [layer["index"] for layer in layers] == list(range(len(described)))
        assert [layer["output_shape"] for layer in layers if layer["type"] == "dense"] == [
            [layer["units"]] for layer in described if layer["type"] == "dense"
        ]
        for field in ("parameters", "multiply_adds", "array_bytes", "activation_bytes"):
            assert summary[field] == sum(layer[field] for layer in layers) > 0
        arrays = nn.loads(http.get(f"/models/{name}/versions/1/artifact").content).network.arrays.values()
        assert summary["array_bytes"] == sum(array.nbytes for array in arrays)

    def test_the_summary_is_described(self, http: httpx.Client) -> None:
        described = get(http, "/openapi.json")["components"]["schemas"]
        assert set(described["Summary"]["required"]) == set(get(http, "/models/mnist/versions/1")["summary"])
        assert "output_shape" in described["LayerSummary"]["description"]

    @pytest.mark.parametrize(
        "path",
        [
            "/models/unheard-of",
            "/models/unheard-of/versions/1",
            "/models/unheard-of/example",
            "/models/unheard-of/aliases/latest/history",
            "/models/mnist/versions/77",
            "/models/mnist/versions/77/artifact",
            "/models/mnist@77/example",
            "/models/mnist@champion/example",
            "/models/mnist/aliases/champion/history",
            "/models/..",
            "/models/%2e%2e",
            "/models/%2e%2e/versions/1/artifact",
            "/models/..%2f..%2fetc%2fpasswd",
            "/models/..%5cx",
            "/models/%00",
            "/models/%ff",
            "/models/MNIST",
            f"/models/{'x' * 5000}",
        ],
    )
    def test_what_is_not_there(self, path: str, http: httpx.Client) -> None:
        # As it stands: the client would tidy away the dots.
        url = httpx.URL(http.base_url).copy_with(raw_path=path.encode())
        response = http.send(httpx.Request("GET", url))
        assert response.status_code == 404
        assert response.json()["status"] == 404
        assert "there is no" in response.json()["detail"] or "has never had" in response.json()["detail"]

    @pytest.mark.parametrize("version", ["0", "-1", "x", "1.5", "9" * 30])
    def test_a_version_is_a_number_from_1(self, version: str, http: httpx.Client) -> None:
        is_problem(http.get(f"/models/mnist/versions/{version}"), 422, "version")


class TestArtifact:
    def test_its_bytes_are_those_of_its_digest(self, http: httpx.Client) -> None:
        version = get(http, "/models/heart/versions/1")
        response = http.get("/models/heart/versions/1/artifact")
        assert response.status_code == 200
        assert response.headers["ETag"] == f'"{version["sha256"]}"'
        assert response.headers["Content-Disposition"] == 'attachment; filename="heart-1.npz"'
        assert hashlib.sha256(response.content).hexdigest() == version["sha256"]
        assert len(response.content) == version["size"]
        assert nn.loads(response.content).metadata.metrics == version["metrics"]

    @pytest.mark.parametrize("form", ['"{}"', 'W/"{}"', '"other", "{}"', "*"])
    def test_who_has_it_gets_304(self, form: str, http: httpx.Client) -> None:
        sha256 = get(http, "/models/heart/versions/1")["sha256"]
        headers = {"If-None-Match": form.format(sha256)}
        response = http.get("/models/heart/versions/1/artifact", headers=headers)
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["ETag"] == f'"{sha256}"'

    def test_who_has_another_gets_it(self, http: httpx.Client) -> None:
        response = http.get("/models/heart/versions/1/artifact", headers={"If-None-Match": f'"{"0" * 64}"'})
        assert response.status_code == 200
        assert response.content


class TestUpload:
    def test_what_was_downloaded_can_be_published_again(self, http: httpx.Client, artifact: bytes) -> None:
        response = http.post("/models/copied/versions", content=artifact, headers=NPZ)
        assert response.status_code == 201
        version = response.json()
        assert response.headers["Location"] == "/models/copied/versions/1"
        assert get(http, response.headers["Location"]) == version
        assert (version["name"], version["version"], version["aliases"]) == ("copied", 1, ["latest"])
        assert version["sha256"] == get(http, "/models/toy-regression/versions/1")["sha256"]
        assert http.get("/models/copied/versions/1/artifact").content == artifact
        answers = [
            http.post("/predict", json={"model": name, "inputs": [[0.35], [0.7]]}).json()["predictions"]
            for name in ("copied", "toy-regression@1")
        ]
        assert answers[0] == answers[1]
        assert upload(http, "copied", artifact)["version"] == 2

    @pytest.mark.parametrize(
        "spoil",
        [
            pytest.param(lambda data: b"", id="nothing"),
            pytest.param(lambda data: b"not a zip", id="foreign"),
            pytest.param(lambda data: data[: len(data) // 2], id="cut"),
            pytest.param(lambda data: data.replace(b"<f4", b"<f8"), id="patched"),
        ],
    )
    def test_anything_else_is_refused(
        self, spoil: Callable[[bytes], bytes], http: httpx.Client, artifact: bytes, unchanged: None
    ) -> None:
        is_problem(http.post("/models/hostile/versions", content=spoil(artifact), headers=NPZ), 422)

    def test_a_zip_of_other_things_is_refused(self, http: httpx.Client, unchanged: None) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("../../escaped.npy", b"\0" * 1000)
        is_problem(http.post("/models/hostile/versions", content=buffer.getvalue(), headers=NPZ), 422, "trainserve")

    @pytest.mark.parametrize("name", ["%2e%2e", "Upper", "a b", "-dash", "x" * 65, "caf%C3%A9", "%00", "a@1"])
    def test_a_name_that_names_no_model(self, name: str, http: httpx.Client, artifact: bytes, unchanged: None) -> None:
        is_problem(http.post(f"/models/{name}/versions", content=artifact, headers=NPZ), 422, "cannot name a model")

    @pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/zip"}, {"Content-Type": "image/png"}])
    def test_the_bytes_are_judged_and_not_the_type_that_is_told(
        self, headers: dict[str, str], http: httpx.Client, artifact: bytes
    ) -> None:
        assert http.post("/models/judged/versions", content=artifact, headers=headers).status_code == 201
        is_problem(http.post("/models/judged/versions", content=artifact[1:], headers=headers), 422)

    def test_too_large(self, http: httpx.Client, unchanged: None) -> None:
        is_problem(http.post("/models/hostile/versions", content=b"\0" * (2 * 2**20 + 1), headers=NPZ), 413)


class TestAliases:
    @pytest.fixture
    def name(self, http: httpx.Client, artifact: bytes) -> str:
        """A model of the test's own with versions 1 and 2."""
        name = f"alias-{uuid.uuid4()}"
        assert [upload(http, name, artifact)["version"] for _ in range(2)] == [1, 2]
        return name

    def test_an_alias_is_set_moved_and_taken_away(self, http: httpx.Client, name: str) -> None:
        def point(version: int) -> JSON:
            response = http.put(f"/models/{name}/aliases/champion", json={"version": version})
            assert response.status_code == 200
            told: JSON = response.json()
            return told

        def answers() -> int:
            response = http.post("/predict", json={"model": f"{name}@champion", "inputs": [[0]]})
            return int(response.json()["version"])

        assert point(1)["aliases"] == ["champion"]
        assert get(http, f"/models/{name}")["aliases"] == {"champion": 1, "latest": 2}
        assert answers() == 1
        assert point(2)["aliases"] == ["champion", "latest"]
        assert point(2)["aliases"] == ["champion", "latest"]
        assert get(http, f"/models/{name}/versions/1")["aliases"] == []
        assert answers() == 2
        assert http.delete(f"/models/{name}/aliases/champion").status_code == 204
        assert get(http, f"/models/{name}")["aliases"] == {"latest": 2}
        is_problem(
            http.post("/predict", json={"model": f"{name}@champion", "inputs": [[0]]}), 404, "its aliases latest"
        )
        is_problem(http.delete(f"/models/{name}/aliases/champion"), 404)

        history = get(http, f"/models/{name}/aliases/champion/history")
        assert [move["version"] for move in history["data"]] == [None, 2, 1], "newest first, and no move to the same"
        times = [datetime.fromisoformat(move["moved_at"]) for move in history["data"]]
        assert times == sorted(times, reverse=True)

    def test_latest_goes_with_each_version_and_can_be_rolled_back(
        self, http: httpx.Client, name: str, artifact: bytes
    ) -> None:
        assert http.put(f"/models/{name}/aliases/latest", json={"version": 1}).status_code == 200
        assert http.post("/predict", json={"model": name, "inputs": [[0]]}).json()["version"] == 1
        upload(http, name, artifact)
        assert get(http, f"/models/{name}")["aliases"] == {"latest": 3}
        moves = get(http, f"/models/{name}/aliases/latest/history")["data"]
        assert [move["version"] for move in moves] == [3, 1, 2, 1]

    def test_latest_cannot_be_taken_away(self, http: httpx.Client, name: str) -> None:
        is_problem(http.delete(f"/models/{name}/aliases/latest"), 409, "latest")
        assert get(http, f"/models/{name}")["aliases"] == {"latest": 2}

    @pytest.mark.parametrize(
        ("path", "body", "status"),
        [
            ("mnist/aliases/champion", {"version": 77}, 404),
            ("unheard-of/aliases/champion", {"version": 1}, 404),
            ("mnist/aliases/77", {"version": 1}, 422),
            ("mnist/aliases/Champion", {"version": 1}, 422),
            ("mnist/aliases/%2e%2e", {"version": 1}, 422),
            ("mnist/aliases/champion", {}, 422),
            ("mnist/aliases/champion", {"version": 0}, 422),
            ("mnist/aliases/champion", {"version": "1"}, 422),
            ("mnist/aliases/champion", {"version": True}, 422),
            ("mnist/aliases/champion", {"version": 1, "by": "me"}, 422),
            ("mnist/aliases/champion", [1], 422),
        ],
    )
    def test_what_is_refused(self, path: str, body: object, status: int, http: httpx.Client, unchanged: None) -> None:
        is_problem(http.put(f"/models/{path}", json=body), status)
