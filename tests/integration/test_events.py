"""A job's numbered events, read as JSON, as a long poll and as a stream."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.integration.support import ENDLESS, JSON, STREAM, cancel, get, is_problem, submit, wait


@pytest.fixture(scope="module")
def ended(http: httpx.Client) -> str:
    """A job of three epochs that has succeeded: queued, running, three epochs, succeeded."""
    return str(wait(http, submit(http, model="told", training={"epochs": 3})["id"], "succeeded")["id"])


def events(http: httpx.Client, job_id: str, **params: object) -> list[JSON]:
    told: list[JSON] = get(http, f"/jobs/{job_id}/events", **params)["data"]
    return told


def streamed(response: httpx.Response) -> Iterator[JSON]:
    """The events of a stream, as they come."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if name:
            fields[name] = value
        elif fields:
            event = json.loads(fields["data"])
            assert fields == {"id": str(event["id"]), "event": event["type"], "data": fields["data"]}
            yield event
            fields = {}


def stream(http: httpx.Client, job_id: str, **headers: str) -> list[JSON]:
    with http.stream("GET", f"/jobs/{job_id}/events", headers=STREAM | headers) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"].startswith("text/event-stream")
        return list(streamed(response))


class TestJSON:
    def test_they_are_numbered_and_tell_the_whole_story(self, http: httpx.Client, ended: str) -> None:
        told = events(http, ended)
        assert [event["id"] for event in told] == [1, 2, 3, 4, 5, 6]
        assert [event["type"] for event in told] == ["status", "status", "epoch", "epoch", "epoch", "status"]
        assert [event["data"].get("status") for event in told] == ["queued", "running", None, None, None, "succeeded"]
        assert [event["data"] for event in told[2:5]] == get(http, f"/jobs/{ended}/history")["epochs"]
        assert told[-1]["data"]["result"] == get(http, f"/jobs/{ended}")["result"]
        assert {event["object"] for event in told} == {"training.event"}
        assert [event["created_at"] for event in told] == sorted(event["created_at"] for event in told)

    @pytest.mark.parametrize(
        ("after", "limit", "numbers", "has_more"),
        [
            (0, 2, [1, 2], True),
            (2, 4, [3, 4, 5, 6], False),
            (2, 3, [3, 4, 5], True),
            (5, 100, [6], False),
            (6, 1, [], False),
        ],
    )
    def test_a_part_of_them(
        self, after: int, limit: int, numbers: list[int], has_more: bool, http: httpx.Client, ended: str
    ) -> None:
        page = get(http, f"/jobs/{ended}/events", after=after, limit=limit)
        assert [event["id"] for event in page["data"]] == numbers
        assert page["has_more"] is has_more

    @pytest.mark.parametrize(
        "query", ["after=-1", "after=x", "limit=0", "limit=1001", "wait=-1", "wait=61", "wait=nan", "wait=inf"]
    )
    def test_what_they_do_not_take(self, query: str, http: httpx.Client, ended: str) -> None:
        is_problem(http.get(f"/jobs/{ended}/events?{query}"), 422, query.partition("=")[0])


class TestOfAQueuedJob:
    def test_a_long_poll_answers_as_soon_as_there_is_something(self, http: httpx.Client, occupied: str) -> None:
        job = submit(http)["id"]
        with ThreadPoolExecutor(1) as pool:
            started = time.monotonic()
            poll = pool.submit(events, http, job, after=1, wait=30)
            cancel(http, job)
            told = poll.result()
        assert time.monotonic() - started < 10
        assert [(event["id"], event["data"]["status"]) for event in told] == [(2, "cancelled")]

    def test_a_long_poll_answers_with_nothing_when_the_time_is_over(self, http: httpx.Client, occupied: str) -> None:
        job = submit(http)["id"]
        started = time.monotonic()
        assert events(http, job, after=1, wait=0.4) == []
        assert time.monotonic() - started >= 0.4
        cancel(http, job)

    def test_a_stream_closes_when_the_job_is_deleted(self, http: httpx.Client, occupied: str) -> None:
        job = submit(http)["id"]
        with http.stream("GET", f"/jobs/{job}/events", headers=STREAM) as response:
            told = streamed(response)
            assert next(told)["id"] == 1
            cancel(http, job)
            assert http.delete(f"/jobs/{job}").status_code == 204
            # It may have told of the end before there was nothing more to tell of.
            assert [event["data"]["status"] for event in told] in ([], ["cancelled"])


class TestOfAnEndedJob:
    def test_nobody_need_wait(self, http: httpx.Client, ended: str) -> None:
        started = time.monotonic()
        assert events(http, ended, after=6, wait=30) == []
        assert time.monotonic() - started < 10


class TestStream:
    def test_it_tells_what_the_json_tells_and_closes(self, http: httpx.Client, ended: str) -> None:
        assert stream(http, ended) == events(http, ended)

    @pytest.mark.parametrize("last", [0, 1, 5, 6, 10**30])
    def test_it_goes_on_behind_the_last_event_that_was_heard(self, last: int, http: httpx.Client, ended: str) -> None:
        assert stream(http, ended, **{"Last-Event-ID": str(last)}) == events(http, ended)[last:]

    def test_it_follows_a_job_from_its_start_to_its_end(self, http: httpx.Client) -> None:
        job = submit(http, **ENDLESS)["id"]
        kinds = []
        with http.stream("GET", f"/jobs/{job}/events", headers=STREAM) as response:
            for event in streamed(response):
                kinds.append(event["data"].get("status", "epoch"))
                if kinds[-2:] == ["epoch", "epoch"]:
                    cancel(http, job)
        assert kinds[:4] == ["queued", "running", "epoch", "epoch"]
        assert kinds[-1] == "cancelled"

    @pytest.mark.parametrize("last", ["x", "-1", "1.5", "²"])
    def test_a_last_event_that_is_no_number(self, last: str, http: httpx.Client, ended: str) -> None:
        headers = STREAM | {"Last-Event-ID": last}
        response = http.get(f"/jobs/{ended}/events", headers=[(k.encode(), v.encode()) for k, v in headers.items()])
        assert is_problem(response, 422, "Last-Event-ID")["type"] == "/problems/invalid-input"

    def test_of_an_unknown_job(self, http: httpx.Client) -> None:
        is_problem(http.get("/jobs/unheard-of/events", headers=STREAM), 404)
