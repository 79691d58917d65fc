"""Errors as `application/problem+json` (RFC 9457): one table from classes to statuses."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from nn.errors import InputError, NNError, Problem, ShapeError, SpecError
from service import errors

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
MAX_PROBLEMS = 20


@dataclass(frozen=True)
class Kind:
    """One kind of problem: its status, the last part of its type's address, its title."""

    status: int
    slug: str
    title: str


# The nearest class of the error's own line of ancestors counts.
KINDS: dict[type[Exception], Kind] = {
    ShapeError: Kind(422, "shape-mismatch", "The input has the wrong shape"),
    InputError: Kind(422, "invalid-input", "The input cannot be used"),
    SpecError: Kind(422, "invalid-spec", "The network or its training cannot be carried out"),
    errors.MalformedInput: Kind(400, "malformed-json", "The body is not JSON"),
    errors.InvalidInput: Kind(422, "invalid-input", "The input cannot be used"),
    errors.UnsupportedFormat: Kind(415, "unsupported-media-type", "The format of the body is not read here"),
    errors.TooLarge: Kind(413, "too-large", "The body is too large"),
    errors.NotFound: Kind(404, "not-found", "There is no such thing"),
    errors.Conflict: Kind(409, "conflict", "The present state does not allow it"),
    errors.Unavailable: Kind(503, "unavailable", "It cannot be had now"),
    errors.StorageError: Kind(503, "storage-unavailable", "The artifact store cannot serve it now"),
    NNError: Kind(422, "invalid-input", "The input cannot be used"),
    ClientDisconnect: Kind(400, "interrupted", "The client left before the whole body had come"),
}
HTTP_KINDS = {
    404: Kind(404, "not-found", "There is no such address"),
    405: Kind(405, "method-not-allowed", "The address does not know this method"),
}
INTERNAL = Kind(500, "internal", "The service met an error of its own")


def install(app: FastAPI) -> None:
    """Lets every error of `app` be answered as a problem."""
    for error in KINDS:
        app.add_exception_handler(error, _known)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(Exception, _unknown)


def answer(
    request: Request,
    kind: Kind,
    detail: str,
    problems: Sequence[dict[str, Any]] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    body = {
        "type": f"/problems/{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": detail,
        "instance": request.url.path,
    }
    if problems:
        body["errors"] = list(problems[:MAX_PROBLEMS])
    return Response(orjson.dumps(body), kind.status, headers, MEDIA_TYPE)


def _known(request: Request, error: Exception) -> Response:
    kind = next(KINDS[ancestor] for ancestor in type(error).__mro__ if ancestor in KINDS)
    problems: Sequence[Problem] = getattr(error, "problems", ())
    detail = error.detail if isinstance(error, errors.ServiceError) else str(error) or kind.title
    if problems:
        detail = f"{problems[0].pointer}: {problems[0].detail}"
        if len(problems) > 1:
            detail += f" (and {len(problems) - 1} more)"
    if kind.status >= 500:
        log.warning("request failed", extra={"action": "request_failed", "path": request.url.path, "reason": detail})
    headers = {"Retry-After": "1"} if kind.status == 503 else None
    listed = [{"pointer": problem.pointer, "detail": problem.detail} for problem in problems]
    return answer(request, kind, detail, listed, headers)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = HTTP_KINDS.get(error.status_code, Kind(error.status_code, "http", str(error.detail)))
    headers = dict(error.headers or {})
    if error.status_code == 404:
        detail = "there is no such address; GET /openapi.json lists those that there are"
    elif error.status_code == 405:
        headers["Allow"] = _methods(request) or headers.get("Allow", "")
        detail = f"{request.method} is not for this address; use {headers['Allow'] or 'another'}"
    else:
        detail = str(error.detail)
    return answer(request, kind, detail, headers=headers)


def _methods(request: Request) -> str:
    """Every method of the address: the route that was refused knows only its own."""
    paths = request.app.openapi()["paths"]
    described = paths.get(getattr(request.scope.get("route"), "path", ""), {})
    return ", ".join(sorted(method.upper() for method in described))


def _validation(request: Request, error: Exception) -> Response:
    """What the framework finds wrong in path, query and headers; bodies are read by this service itself."""
    assert isinstance(error, RequestValidationError)
    found = [
        {"parameter": str(problem["loc"][-1]), "detail": f"{problem['msg']}; got {str(problem['input'])[:60]!r}"}
        for problem in error.errors()
    ]
    detail = "; ".join(f"{problem['parameter']}: {problem['detail']}" for problem in found[:3])
    return answer(request, Kind(422, "invalid-input", "A parameter cannot be used"), detail, found)


def _unknown(request: Request, error: Exception) -> Response:
    # The error itself is raised again by the framework once this is answered, and so reaches the log.
    return answer(request, INTERNAL, "the error is in the log under this request's X-Request-ID; it is not yours")
