"""The client against answers that no server of ours gives, and what it makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from service import client as module
from service.client import Client, ProblemError

Handler = Callable[[httpx.Request], httpx.Response]


def client_of(handler: Handler) -> Client:
    client = Client("http://test")
    client.close()
    client._http = httpx.Client(base_url="http://test", transport=httpx.MockTransport(handler))
    return client


@pytest.mark.parametrize(
    ("content", "kind", "text"),
    [
        (b'{"title": "No", "detail": "because"}', "application/problem+json", "because"),
        (b'{"title": "No"}', "application/problem+json", "No"),
        (b"{}", "application/problem+json", "status 502"),
        (b"[1]", "application/json", "status 502"),
        (b"<html>Bad Gateway</html>", "text/html", "Bad Gateway"),
        (b"", "text/plain", "Bad Gateway"),
    ],
)
def test_a_refusal_of_any_form_is_an_error_with_words(content: bytes, kind: str, text: str) -> None:
    answer = httpx.Response(502, content=content, headers={"Content-Type": kind})
    with client_of(lambda request: answer) as client, pytest.raises(ProblemError) as caught:
        client.models()
    assert (caught.value.status, str(caught.value)) == (502, text)


def test_several_problems_are_told_line_by_line() -> None:
    errors = [{"pointer": "#/a", "detail": "wrong"}, {"parameter": "b", "detail": "worse"}]
    error = ProblemError(422, {"detail": "two things", "errors": errors})
    assert str(error) == "two things\n  #/a: wrong\n  b: worse"
    assert str(ProblemError(422, {"detail": "one thing", "errors": errors[:1]})) == "one thing"


def test_only_what_was_given_is_sent() -> None:
    sent: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={"data": []})

    with client_of(answer) as client:
        client.submit("heart")
        client.submit("heart", training={"epochs": 1}, idempotency_key="k")
        client.jobs()
        client.predict([[1]], model="m@2", explain=True)
    assert json.loads(sent[0].content) == {"dataset": "heart"}
    assert "Idempotency-Key" not in sent[0].headers
    assert json.loads(sent[1].content) == {"dataset": "heart", "training": {"epochs": 1}}
    assert sent[1].headers["Idempotency-Key"] == "k"
    assert dict(sent[2].url.params) == {"limit": "20"}
    assert dict(sent[3].url.params) == {"model": "m@2", "explain": "true"}


def test_waiting_looks_until_the_job_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("service.client.time.sleep", slept.append)
    statuses = iter(["queued", "running", "cancelling", "cancelled"])
    seen: list[Any] = []
    with client_of(lambda request: httpx.Response(200, json={"status": next(statuses)})) as client:
        job = client.wait("x", every=0.25, on_progress=lambda job: seen.append(job["status"]))
    assert (job["status"], seen) == ("cancelled", ["queued", "running", "cancelling", "cancelled"])
    assert slept == [0.25] * 3


def test_every_operation_says_what_it_does() -> None:
    operations = [value for value in vars(module._Operations).values() if isinstance(value, module.Operation)]
    assert len(operations) > 12
    assert all(operation.__doc__ for operation in operations)
