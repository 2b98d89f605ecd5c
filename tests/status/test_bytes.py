"""What comes in is bounded, and what is no request is told so."""

from __future__ import annotations

import socket

import pytest

from tests.status.asking import Asking

HOST = b"Host: localhost\r\n"


def post(asking: Asking, path: bytes, headers: bytes, body: bytes = b"") -> bytes:
    bearer = f"Authorization: Bearer {asking.token}\r\n".encode()
    return b"POST " + path + b" HTTP/1.1\r\n" + HOST + bearer + headers + b"\r\n" + body


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 405),  # as a method it is none
        (b"GET\r\n\r\n", 405),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 403),  # no host
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: localhost\r\n\r\n", 403),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 20_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 200_000, 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"".join(b"X%d: a\r\n" % k for k in range(200)) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 70000\r\n\r\n", 413),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n", 200),
        (b"GET http://localhost/healthz HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"GET /healthz HTTP/1.0\r\n" + HOST + b"\r\n", 200),
    ],
)
def test_what_is_no_request_or_too_large_is_told_so_in_json(asking: Asking, sent: bytes, status: int) -> None:
    said = asking.raw(sent)
    assert said.status == status
    assert said.json.get("status") or said.json["error"]
    if status not in (200, 404):
        assert said.headers["Connection"] == "close"


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Type: application/json\r\nContent-Length: 65537\r\n",
        b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n",
    ],
)
def test_a_body_that_is_too_large_is_not_read(asking: Asking, headers: bytes) -> None:
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
    assert asking.raw(post(asking, b"/undeploy", headers, chunk * 3)).status == 413


def test_a_body_of_somebody_without_the_token_is_not_waited_for(asking: Asking) -> None:
    headers = HOST + b"Content-Type: application/json\r\nContent-Length: 60000\r\n\r\n"
    assert asking.raw(b"POST /undeploy HTTP/1.1\r\n" + headers).status == 401


def test_one_connection_serves_one_after_the_other(asking: Asking) -> None:
    with asking.connect() as connection:
        for _ in range(3):
            connection.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
            assert b'"status":"ok"' in _until(connection, b"}\n")
        connection.sendall(b"GET /healthz HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n")
        assert _until(connection, b"").endswith(b"}\n")


def test_who_asks_again_before_the_answer_gets_one_and_the_end(asking: Asking) -> None:
    with asking.connect() as connection:
        connection.sendall((b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n") * 50)
        told = _until(connection, b"")
    assert told.count(b"HTTP/1.1 200") == 1
    assert b"Connection: close" in told


def _until(connection: socket.socket, end: bytes) -> bytes:
    """What comes until it ends so; with an empty `end`, until the connection does."""
    told = b""
    while not end or not told.endswith(end):
        piece = connection.recv(65_536)
        if not piece:
            return told
        told += piece
    return told
