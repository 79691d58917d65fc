"""Bodies that nobody thought of: whatever comes, the answer is a plain one or a refusal, never a 5xx."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.support import ask, get

bounded = settings(
    max_examples=50, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
scalars: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "sgd", "dense", "relu", "mnist", "heart@1", "../x", "NaN", 1e300, 10**400, -(2**63), 0.5])
    | st.text(max_size=20)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def near(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object that has some of the fields it should have, each good or not, and perhaps one more."""
    some = st.fixed_dictionaries({}, optional={name: good | anything for name, good in fields.items()})
    return some | st.builds(
        lambda known, more: more | known, some, st.dictionaries(st.text(max_size=8), anything, max_size=1)
    )


layers = st.lists(
    near(
        type=st.sampled_from(["dense", "relu", "softmax", "identity"]),
        units=st.integers(-2, 12),
        initializer=st.just("he"),
    ),
    max_size=4,
)
jobs = near(
    dataset=st.sampled_from(["mnist", "heart", "toy-regression", "toy_regression"]),
    model=st.from_regex(r"[a-z0-9@/._-]{0,10}", fullmatch=True),
    network=near(layers=layers, dtype=st.sampled_from(["float32", "float64", "float16"])),
    training=near(
        loss=st.sampled_from(["mean_squared_error", "cross_entropy", "binary_cross_entropy"]),
        epochs=st.integers(-1, 3),
        batch_size=st.integers(-1, 100),
        seed=st.integers(-1, 2**54),
        validation_fraction=st.floats(-0.1, 1.1),
        optimizer=near(
            type=st.just("sgd"), learning_rate=st.floats(), momentum=st.floats(-0.1, 1.1), nesterov=st.booleans()
        ),
        early_stopping=near(patience=st.integers(-1, 9), min_delta=st.floats()),
    ),
    metadata=st.dictionaries(st.text(max_size=8), anything, max_size=3),
)
rows = st.lists(st.lists(st.floats() | st.integers() | anything, max_size=3) | anything, max_size=3)
cells = st.sampled_from([None, 63, 1.5, "male", "normal", "flat", "asymptomatic"]) | anything
columns = [
    "age", "sex", "chest_pain", "resting_bp", "cholesterol", "fasting_blood_sugar", "resting_ecg", "max_heart_rate",
    "exercise_angina", "st_depression", "st_slope", "major_vessels", "thal",
]  # fmt: skip
records = st.lists(st.fixed_dictionaries(dict.fromkeys(columns, cells)) | anything, max_size=3)
questions = near(
    inputs=rows, records=records, model=st.sampled_from(["mnist", "heart", "toy-regression", "toy-regression@1", "x"])
)


def is_answered(response: httpx.Response) -> None:
    assert response.status_code < 500, response.text
    told = json.loads(response.content, parse_constant=lambda name: pytest.fail(f"{name} in an answer"))
    if response.is_error:
        assert response.headers["Content-Type"] == "application/problem+json"
        assert told["detail"]


class TestRandomBodies:
    @bounded
    @given(body=jobs | anything)
    def test_of_jobs(self, body: object, http: httpx.Client, occupied: str) -> None:
        headers = {"Content-Type": "application/json"}
        response = http.post("/jobs", content=json.dumps(body), headers=headers)
        is_answered(response)
        if response.status_code == 202:
            job = response.json()["id"]
            is_answered(http.get(f"/jobs/{job}"))
            assert http.post(f"/jobs/{job}/cancel").json()["status"] == "cancelled"

    @bounded
    @given(body=questions | anything)
    def test_of_predictions(self, body: object, http: httpx.Client) -> None:
        is_answered(ask(http, json.dumps(body).encode()))

    @bounded
    @given(data=st.binary(max_size=200), kind=st.sampled_from(["image/png", "application/x-npy", "application/json"]))
    def test_of_bytes(self, data: bytes, kind: str, http: httpx.Client) -> None:
        is_answered(ask(http, data, kind))

    @bounded
    @given(data=st.data())
    def test_of_files_with_some_bytes_changed(self, data: st.DataObject, http: httpx.Client) -> None:
        picture = http.get("/models/mnist/example", headers={"Accept": "image/png"}).content
        array = (
            b"\x93NUMPY\x01\x00\x46\x00{'descr': '|u1', 'fortran_order': False, 'shape': (1, 784), }"
            + b" " * 11
            + b"\n"
        )
        kind, whole = data.draw(st.sampled_from([("image/png", picture), ("application/x-npy", array + bytes(784))]))
        spoilt = bytearray(whole)
        for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=6)):
            spoilt[place] = data.draw(st.integers(0, 255))
        is_answered(ask(http, bytes(spoilt), kind))

    @bounded
    @given(path=st.text(min_size=1, max_size=30), method=st.sampled_from(["GET", "DELETE", "PUT", "POST"]))
    def test_of_paths(self, path: str, method: str, http: httpx.Client) -> None:
        for beginning in ("/", "/jobs/", "/models/", "/models/mnist/versions/", "/models/mnist/aliases/"):
            address = httpx.URL(http.base_url).copy_with(raw_path=(beginning + quote(path)).encode())
            if (method, address.path.rstrip("/")) == ("DELETE", "/models/mnist/aliases/latest"):
                continue
            response = http.request(method, address)
            assert response.status_code < 500, response.text


def test_the_columns_here_are_those_of_the_model(http: httpx.Client) -> None:
    assert [column["name"] for column in get(http, "/models/heart/versions/1")["inputs"]["columns"]] == columns
