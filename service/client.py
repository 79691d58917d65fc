"""The client: `Client` and `AsyncClient` over httpx, with one text for both.

An operation is written once, as a generator that yields what is to be done (an `httpx.Request`, or seconds to wait) and
is sent the response. `Client` carries that out at once, `AsyncClient` in the event loop.

    with Client("http://127.0.0.1:8000") as client:
        job = client.wait(client.submit("mnist", training={"epochs": 3})["id"])
        print(client.predict_picture(Path("seven.png").read_bytes()))
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

import httpx

JSON = dict[str, Any]
P = ParamSpec("P")
T = TypeVar("T")
Flow = Generator[httpx.Request | float, httpx.Response | None, T]

DEFAULT_URL = "http://127.0.0.1:8000"
ENDED = ("succeeded", "failed", "cancelled")


class ProblemError(Exception):
    """The server's refusal, as its `application/problem+json` tells it."""

    def __init__(self, status: int, problem: JSON) -> None:
        self.status = status
        self.problem = problem
        lines = [str(problem.get("detail") or problem.get("title") or f"status {status}")]
        listed = problem.get("errors", [])
        if len(listed) > 1:
            lines += [f"  {error.get('pointer') or error.get('parameter')}: {error['detail']}" for error in listed]
        super().__init__("\n".join(lines))


class Operation(Generic[P, T]):
    """A method that a `Client` has as a plain function and an `AsyncClient` as a coroutine."""

    def __init__(self, flow: Callable[Concatenate[Any, P], Flow[T]]) -> None:
        self._flow = flow
        self.__doc__ = flow.__doc__

    @overload
    def __get__(self, instance: Client, owner: object = None) -> Callable[P, T]: ...

    @overload
    def __get__(self, instance: AsyncClient, owner: object = None) -> Callable[P, Awaitable[T]]: ...

    def __get__(self, instance: Any, owner: object = None) -> Any:
        if instance is None:
            return self
        return lambda *args, **kwargs: instance.run(self._flow(instance, *args, **kwargs))


class _Operations:
    """What the server can be asked; shared by both clients."""

    _http: httpx.Client | httpx.AsyncClient

    def _ask(self, method: str, path: str, **options: Any) -> Flow[Any]:
        response = yield self._http.build_request(method, path, **options)
        assert response is not None
        if response.is_error:
            try:
                problem = response.json()
            except ValueError:
                problem = {"title": response.reason_phrase}
            raise ProblemError(response.status_code, problem if isinstance(problem, dict) else {})
        if response.headers.get("content-type", "").startswith("application/json"):
            return response.json()
        return response.content

    @Operation
    def submit(
        self,
        dataset: str,
        *,
        model: str | None = None,
        network: JSON | None = None,
        training: JSON | None = None,
        metadata: JSON | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[JSON]:
        """Starts a training job; returns it as it was stored."""
        asked = {"dataset": dataset, "model": model, "network": network, "training": training, "metadata": metadata}
        body = {name: value for name, value in asked.items() if value is not None}
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        job: JSON = yield from self._ask("POST", "/jobs", json=body, headers=headers)
        return job

    @Operation
    def job(self, job_id: str) -> Flow[JSON]:
        """One job with its progress."""
        job: JSON = yield from self._ask("GET", f"/jobs/{job_id}")
        return job

    @Operation
    def jobs(
        self, *, status: str | None = None, model: str | None = None, limit: int = 20, after: str | None = None
    ) -> Flow[JSON]:
        """Jobs, newest first, and whether there are more."""
        asked = {"status": status, "model": model, "limit": limit, "after": after}
        params = {name: value for name, value in asked.items() if value is not None}
        page: JSON = yield from self._ask("GET", "/jobs", params=params)
        return page

    @Operation
    def history(self, job_id: str) -> Flow[list[JSON]]:
        """One row an epoch."""
        told = yield from self._ask("GET", f"/jobs/{job_id}/history")
        rows: list[JSON] = told["epochs"]
        return rows

    @Operation
    def events(self, job_id: str, *, after: int = 0, limit: int = 100, wait: float = 0) -> Flow[JSON]:
        """The events behind number `after`; waits so many seconds for the first."""
        params = {"after": after, "limit": limit, "wait": wait}
        timeout = httpx.Timeout(10, read=wait + 10)
        page: JSON = yield from self._ask("GET", f"/jobs/{job_id}/events", params=params, timeout=timeout)
        return page

    @Operation
    def cancel(self, job_id: str) -> Flow[JSON]:
        """Asks for the end of a job."""
        job: JSON = yield from self._ask("POST", f"/jobs/{job_id}/cancel")
        return job

    @Operation
    def delete(self, job_id: str) -> Flow[None]:
        """Takes an ended job away."""
        yield from self._ask("DELETE", f"/jobs/{job_id}")

    @Operation
    def wait(
        self,
        job_id: str,
        *,
        timeout: float | None = None,
        every: float = 0.5,
        on_progress: Callable[[JSON], object] | None = None,
    ) -> Flow[JSON]:
        """The job once it has ended, however it has; `on_progress` is given the job each time it was looked at.

        Raises `TimeoutError` where it has not ended after `timeout` seconds.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            job: JSON = yield from self._ask("GET", f"/jobs/{job_id}")
            if on_progress is not None:
                on_progress(job)
            if job["status"] in ENDED:
                return job
            if deadline is not None and time.monotonic() + every > deadline:
                raise TimeoutError(f"job {job_id} is still {job['status']} after {timeout} seconds")
            yield every

    @Operation
    def predict(
        self, inputs: Any = None, *, records: list[JSON] | None = None, model: str | None = None, explain: bool = False
    ) -> Flow[JSON]:
        """The answer for rows of numbers, or for table records."""
        body = {"records": records} if records is not None else {"inputs": inputs}
        answer: JSON = yield from self._ask("POST", "/predict", json=body, params=_predict_params(model, explain))
        return answer

    @Operation
    def predict_picture(
        self, picture: bytes, *, content_type: str = "image/png", model: str | None = None, explain: bool = False
    ) -> Flow[JSON]:
        """The answer for one picture file."""
        headers = {"Content-Type": content_type}
        params = _predict_params(model, explain)
        answer: JSON = yield from self._ask("POST", "/predict", content=picture, headers=headers, params=params)
        return answer

    @Operation
    def models(self) -> Flow[list[JSON]]:
        """Every model with its versions and aliases."""
        told = yield from self._ask("GET", "/models")
        models: list[JSON] = told["data"]
        return models

    @Operation
    def model(self, name: str) -> Flow[JSON]:
        """One model with its versions and aliases."""
        model: JSON = yield from self._ask("GET", f"/models/{name}")
        return model

    @Operation
    def version(self, name: str, version: int) -> Flow[JSON]:
        """One version, with a summary of its network."""
        told: JSON = yield from self._ask("GET", f"/models/{name}/versions/{version}")
        return told

    @Operation
    def artifact(self, name: str, version: int) -> Flow[bytes]:
        """The `.npz` of a version."""
        data: bytes = yield from self._ask("GET", f"/models/{name}/versions/{version}/artifact")
        return data

    @Operation
    def upload(self, name: str, artifact: bytes) -> Flow[JSON]:
        """Publishes an `.npz` as the next version of a model."""
        headers = {"Content-Type": "application/octet-stream"}
        path = f"/models/{name}/versions"
        version: JSON = yield from self._ask("POST", path, content=artifact, headers=headers)
        return version

    @Operation
    def set_alias(self, name: str, alias: str, version: int) -> Flow[JSON]:
        """Points an alias at a version."""
        told: JSON = yield from self._ask("PUT", f"/models/{name}/aliases/{alias}", json={"version": version})
        return told


def _predict_params(model: str | None, explain: bool) -> dict[str, str]:
    return ({"model": model} if model else {}) | ({"explain": "true"} if explain else {})


class Client(_Operations):
    """A client that waits for its answers. Raises `ProblemError`, and `httpx.TransportError` where no server is."""

    def __init__(self, url: str = DEFAULT_URL, *, timeout: float = 60) -> None:
        self._http: httpx.Client = httpx.Client(base_url=url, timeout=timeout)

    def run(self, flow: Flow[T]) -> T:
        """Carries an operation out."""
        try:
            wanted = next(flow)
            while True:
                if isinstance(wanted, httpx.Request):
                    wanted = flow.send(self._http.send(wanted))
                else:
                    time.sleep(wanted)
                    wanted = flow.send(None)
        except StopIteration as end:
            result: T = end.value
            return result

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self.close()


class AsyncClient(_Operations):
    """The same for `async` code: every operation is awaited."""

    def __init__(self, url: str = DEFAULT_URL, *, timeout: float = 60) -> None:
        self._http: httpx.AsyncClient = httpx.AsyncClient(base_url=url, timeout=timeout)

    async def run(self, flow: Flow[T]) -> T:
        """Carries an operation out."""
        try:
            wanted = next(flow)
            while True:
                if isinstance(wanted, httpx.Request):
                    wanted = flow.send(await self._http.send(wanted))
                else:
                    await asyncio.sleep(wanted)
                    wanted = flow.send(None)
        except StopIteration as end:
            result: T = end.value
            return result

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *reason: object) -> None:
        await self.aclose()
