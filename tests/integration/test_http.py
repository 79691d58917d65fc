"""What comes over the wire and is no tidy request: broken off, doubled, oversized, malformed."""

from __future__ import annotations

import json
import socket
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest

from tests.integration.conftest import MAX_BODY
from tests.integration.support import Server, get, logged

pytestmark = pytest.mark.usefixtures("unchanged")


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    url = httpx.URL(server.url)
    with socket.create_connection((url.host, url.port or 80), timeout=20) as connection:
        yield connection


def answer(connection: socket.socket) -> bytes:
    """All that comes until the server closes; it may do so before it has read everything."""
    told = b""
    with suppress(ConnectionError):
        while piece := connection.recv(65536):
            told += piece
    return told


def exchange(server: Server, request: bytes) -> bytes:
    with connected(server) as connection:
        with suppress(ConnectionError):
            connection.sendall(request)
        return answer(connection)


@pytest.mark.parametrize("end", ["closed", "reset"])
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/predict", "image/png"),
        ("/predict", "application/json"),
        ("/predict", "multipart/form-data; boundary=x"),
        ("/jobs", "application/json"),
        ("/models/broken-off/versions", "application/octet-stream"),
    ],
)
@pytest.mark.parametrize("length", ["Content-Length: 100000", "Transfer-Encoding: chunked"])
def test_an_upload_that_breaks_off_leaves_the_server_as_it_was(
    path: str, kind: str, length: str, end: str, server: Server
) -> None:
    request_id = f"broken-{uuid.uuid4()}"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nX-Request-ID: {request_id}\r\nContent-Type: {kind}\r\n{length}\r\n\r\n"
    begun = '--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n{"dataset": "heart"'
    body = f"{len(begun):x}\r\n{begun}\r\n" if "chunked" in length else begun
    with connected(server) as connection:
        connection.sendall((head + body).encode())
        if end == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert logged(server, request_id)["status"] == 400
    assert get(server.http, "/health/ready") == {"status": "ready"}


@pytest.mark.parametrize(
    "length", [f"Content-Length: {MAX_BODY + 1}", f"Content-Length: {10**18}", "Transfer-Encoding: chunked"]
)
def test_a_body_that_is_too_large_is_refused_before_its_end(length: str, server: Server) -> None:
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n{length}\r\nConnection: close\r\n\r\n"
    with connected(server) as connection:
        connection.sendall(head.encode())
        if "chunked" in length:
            connection.sendall(b"%x\r\n" % (MAX_BODY + 1) + bytes(MAX_BODY + 1))
        status, _, rest = answer(connection).partition(b"\r\n")
    assert status.split()[1] == b"413"
    assert json.loads(rest.partition(b"\r\n\r\n")[2])["type"] == "/problems/too-large"


@pytest.mark.parametrize(
    ("header", "statuses"),
    [
        (b"Content-Length: 5\r\nContent-Length: 6", {400}),
        (b"Content-Length: -1", {400}),
        (b"Content-Length: \xb2", {400}),
        (b"Content-Length: 1e3", {400}),
        (b"Content-Length: 1" + b"0" * 30, {400}),
        (b"Transfer-Encoding: gzip", {400, 501}),
        (b"no colon", {400}),
        (b"X-Large: " + b"x" * 1_000_000, {400, 413, 431}),
        (b"\r\n".join(b"X-%d: x" % number for number in range(20_000)), {400, 413, 431}),
        (b"Content-Type: application/json\r\nContent-Type: image/png", {400, 415, 422}),
        (b"Content-Type: image/png\r\nContent-Encoding: \xff", {415}),
        (b"Content-Type: image/png; name=\xff\xfe", {422}),
        (b"Content-Type: multipart/form-data; boundary=\xff", {400, 422}),
        (b"Content-Type: multipart/form-data; boundary=" + b"x" * 10_000, {400, 422}),
        (b"X-Request-ID: \xff\r\nX-Request-ID: a", {415}),
        (b"Accept: \xff", {415}),
        (b"Cookie: " + b"a=b;" * 1000, {415}),
        (b"Range: bytes=" + b"0-," * 5000, {415}),
        (b"X-Forwarded-For: ${jndi:ldap://x}", {415}),
        (b"X-HTTP-Method-Override: DELETE", {415}),
    ],
)
def test_hostile_headers(header: bytes, statuses: set[int], server: Server) -> None:
    told = exchange(server, b"POST /predict HTTP/1.1\r\nHost: x\r\n" + header + b"\r\nConnection: close\r\n\r\n")
    assert not told or int(told.split()[1]) in statuses, told[:500]
    assert told or 431 in statuses, "only too much of a header may be cut off without an answer"
    assert get(server.http, "/health/live") == {"status": "live"}


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"HELLO",
        b"\x16\x03\x01\x02\x00",
        b"GET / HTTP/9.9",
        b"GET /\xff HTTP/1.1",
        b"GET  /health/live HTTP/1.1",
        b"GET /" + b"x" * 200_000 + b" HTTP/1.1",
        b"GET http://elsewhere/health/live HTTP/1.1",
        b"GET //health/live HTTP/1.1",
        b"GET /../../etc/passwd HTTP/1.1",
        b"GET /models/mnist/../../../etc/passwd HTTP/1.1",
        b"CONNECT elsewhere:443 HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
    ],
)
def test_request_lines_that_are_none(line: bytes, server: Server) -> None:
    told = exchange(server, line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert not told or 400 <= int(told.split()[1]) < 500, told[:500]
    assert b"root:" not in told
    assert get(server.http, "/health/live") == {"status": "live"}
