"""Small applications that stand in for what a frontend serves: a WSGI one behind the bridge, and an ASGI one."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from frontend.server.body import Body
from frontend.server.exchange import Exchange
from frontend.server.scope import scope_of
from frontend.server.transport_state import Receive, Send
from frontend.wsgi.bridge import Bridge

StartResponse = Callable[..., Callable[[bytes], None]]
LIMIT_BYTES = 1_000_000


def wsgi(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Answers by path, see `_ROUTES`."""
    return _ROUTES[environ["PATH_INFO"]](environ, start_response)


def _hello(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello ", str(os.getpid()).encode()]


def _echo(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    body = environ["wsgi.input"].read()
    told = {name: value for name, value in environ.items() if isinstance(value, (str, bool, int))}
    answer = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest(), "environ": told}
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]


def _sleep(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    time.sleep(float(_query(environ, "s")))
    return _hello(environ, start_response)


def _until(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Waits for a file: a slow model that the test lets go."""
    while not Path(_query(environ, "file")).exists():
        time.sleep(0.01)
    return _hello(environ, start_response)


def _stream(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Endless; tells by a file when it was closed."""
    start_response("200 OK", [("Content-Type", "application/octet-stream")])
    return _Endless(Path(_query(environ, "file")))


class _Endless:
    def __init__(self, told: Path) -> None:
        self._told = told
        self._sent = 0

    def __iter__(self) -> Iterator[bytes]:
        while True:
            self._sent += 1
            yield b"x" * 65_536

    def close(self) -> None:
        partial = self._told.with_suffix(".part")
        partial.write_text(str(self._sent))
        partial.rename(self._told)


def _pieces(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
    """The second piece comes only once the test has seen the first."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"first"
    while not Path(_query(environ, "file")).exists():
        time.sleep(0.01)
    yield b"second"


def _lengths(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", _query(environ, "n"))])
    return iter([b"abc", b"def"])


def _boom(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    raise ValueError("an application's own bug")


def _boom_late(environ: dict[str, Any], start_response: StartResponse) -> Iterator[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"first"
    raise ValueError("an application's own bug")


def _leave(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    raise SystemExit(7)


def _split(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("X-Evil", "a\r\nX-Injected: b")])
    return [b"never"]


def _nothing(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    start_response("204 No Content", [])
    return []


def _after_close(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """`close` comes after the answer, and may take its time."""
    start_response("200 OK", [("Content-Length", "2")])
    return _Closing(Path(_query(environ, "file")))


class _Closing:
    def __init__(self, awaited: Path) -> None:
        self._awaited = awaited

    def __iter__(self) -> Iterator[bytes]:
        yield b"ok"

    def close(self) -> None:
        while not self._awaited.exists():
            time.sleep(0.01)


def _peek(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Tells by a file when a look at the socket shows that the client has hung up."""
    connection = environ["gunicorn.socket"]
    while True:
        try:
            if connection.recv(1, 0x42) == b"":  # MSG_PEEK | MSG_DONTWAIT
                break
        except BlockingIOError:
            time.sleep(0.01)
    Path(_query(environ, "file")).touch()
    return _hello(environ, start_response)


def _refuse(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Refuses without reading the body."""
    start_response("429 Too Many Requests", [("Content-Type", "text/plain"), ("Content-Length", "4")])
    return [b"wait"]


_ROUTES = {
    "/": _hello,
    "/echo": _echo,
    "/ä/echo": _echo,
    "/sleep": _sleep,
    "/until": _until,
    "/stream": _stream,
    "/pieces": _pieces,
    "/lengths": _lengths,
    "/boom": _boom,
    "/boom-late": _boom_late,
    "/leave": _leave,
    "/split": _split,
    "/nothing": _nothing,
    "/after-close": _after_close,
    "/peek": _peek,
    "/refuse": _refuse,
}
_ROUTES["/ä/echo".encode().decode("latin-1")] = _echo


def _query(environ: dict[str, Any], name: str) -> str:
    return str(parse_qs(environ["QUERY_STRING"])[name][0])


class Bridged:
    """`wsgi` behind the bridge."""

    def __init__(self) -> None:
        self._bridge = Bridge(wsgi, threads=8)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._bridge(scope, receive, send)
        else:
            await _live(receive, send)


class Short:
    """A lane: collects the body, answers in one write; two paths fail in place of it."""

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        assert scope["type"] == "lifespan"
        await _live(receive, send)

    def take(self, exchange: Exchange) -> bool:
        exchange.collect(LIMIT_BYTES, functools.partial(_answer_shortly, exchange))
        return True


def _answer_shortly(exchange: Exchange, body: Body | None) -> None:
    path = exchange.head.path
    if path.startswith("/boom"):
        raise OSError("the lane is broken")
    if path.startswith("/later-boom"):
        exchange.spawn(_boom_later())
    elif body is None:
        exchange.respond(413, [("Content-Type", "text/plain")], b"too large")
    else:
        client = scope_of(exchange.head, exchange.connection.state)["client"]
        answer = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest(), "client": client}
        exchange.respond(200, [("Content-Type", "application/json")], json.dumps(answer).encode())


async def _boom_later() -> None:
    await asyncio.sleep(0)
    raise OSError("the lane is broken")


async def _live(receive: Receive, send: Send) -> None:
    while (await receive())["type"] == "lifespan.startup":
        await send({"type": "lifespan.startup.complete"})
    await send({"type": "lifespan.shutdown.complete"})


bridged = Bridged()
short = Short()
