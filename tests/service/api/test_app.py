"""The application in this process, where things can be broken that a real server does not break."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy

from service import wiring
from service.api.middleware import request_id
from service.jobs import Jobs
from service.registry import Registry
from service.settings import Settings
from service.wiring import Service

Ask = Callable[..., httpx.Response]


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    settings = Settings(database_url=f"sqlite:///{tmp_path / 'x.db'}", artifacts_url="memory://", pretrained=None)
    service = wiring.build(settings)
    yield service
    service.database.close()


@pytest.fixture
def ask(service: Service) -> Ask:
    def send(method: str, path: str, **options: object) -> httpx.Response:
        async def exchange() -> httpx.Response:
            transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                return await client.request(method, path, **options)  # type: ignore[arg-type]

        return asyncio.run(exchange())

    return send


def test_an_error_that_nobody_expected_is_a_500_that_tells_nothing_and_is_found_in_the_log(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str | None] = []
    records: list[logging.LogRecord] = []

    def broken(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(Jobs, "get", broken)

    def emit(record: logging.LogRecord) -> None:
        seen.append(request_id.get())
        records.append(record)

    monkeypatch.setattr(caplog.handler, "emit", emit)
    with caplog.at_level(logging.ERROR):
        response = ask("GET", "/jobs/x", headers={"X-Request-ID": "find-me"})
    assert response.status_code == 500
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Request-ID"] == "find-me"
    assert "secret" not in response.text
    (record,) = records
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "secret"
    assert seen == ["find-me"]
    assert 'status="500"' in ask("GET", "/metrics").text


def test_while_the_database_is_gone_everything_but_live_is_503(ask: Ask, service: Service) -> None:
    with service.database.write() as tx:
        for table in ("job", "model_version"):
            tx.execute(sqlalchemy.text(f"DROP TABLE {table}"))
    assert ask("GET", "/health/live").status_code == 200
    for method, path in [("GET", "/health/ready"), ("GET", "/jobs"), ("GET", "/models"), ("GET", "/metrics")]:
        response = ask(method, path)
        assert response.status_code == 503, path
        assert response.headers["Retry-After"]
        assert "database" in response.json()["detail"]


def test_while_it_closes_it_is_not_ready_and_long_polls_answer(ask: Ask, service: Service) -> None:
    job = ask("POST", "/jobs", json={"dataset": "heart"}).json()["id"]
    threading.Timer(0.2, service.closing.set).start()
    assert ask("GET", f"/jobs/{job}/events?after=1&wait=60").json()["data"] == []
    response = ask("GET", "/health/ready")
    assert (response.status_code, response.json()["detail"]) == (503, "the service is shutting down")
    assert ask("GET", "/health/live").status_code == 200


def test_health_live_does_not_wait_for_predictions(ask: Ask, service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forty predictions hold all threads there are; whether the process lives needs none of them."""
    released = threading.Event()
    waiting = threading.Semaphore(0)

    def slow(*_: object) -> None:
        waiting.release()
        assert released.wait(20)

    monkeypatch.setattr(Registry, "resolve", slow)

    async def exchange() -> int:
        transport = httpx.ASGITransport(service.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=30) as client:
            held = [asyncio.create_task(client.post("/predict", json={"inputs": [[1]]})) for _ in range(60)]
            while not waiting.acquire(blocking=False):
                await asyncio.sleep(0.01)
            live = await asyncio.wait_for(client.get("/health/live"), 5)
            released.set()
            await asyncio.gather(*held)
            return live.status_code

    assert asyncio.run(exchange()) == 200
