"""The generator sends no two requests alike, and counts what it got, however a server frames its answers."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.envelopes import form
from benchmarks.generator import generate
from engine.errors import NotReady

_WAV = bytes(400)


class Heard:
    """What a server of the tests was sent, and how it answers."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self.bodies: list[bytes] = []
        self.types: set[str] = set()


@contextlib.contextmanager
def served(answer: str) -> Iterator[tuple[str, Heard]]:
    heard = Heard(answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            heard.types.add(self.headers["Content-Type"].partition(";")[0])
            heard.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            answer_as(self, heard.answer)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/predict?top_k=3", heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer_as(handler: BaseHTTPRequestHandler, how: str) -> None:
    handler.send_response(500 if how == "failing" else 200)
    if how == "chunked":
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"2\r\n[]\r\n")
        handler.wfile.write(b"0\r\n\r\n")
        return
    if how == "closing":
        handler.send_header("Connection", "close")
    if how != "endless":
        handler.send_header("Content-Length", "2")
    handler.end_headers()
    handler.wfile.write(b"[]")
    handler.close_connection = how in ("closing", "endless")


@pytest.mark.parametrize("how", ("plain", "chunked", "closing"))
def test_every_request_is_answered_and_none_is_like_another(how: str) -> None:
    with served(how) as (url, heard):
        found = generate(url, [_WAV, _WAV], connections=3, seconds=0.3, envelope=form)
    assert found.answers == len(heard.bodies) > 3
    assert found.errors == {}
    assert len(set(heard.bodies)) == len(heard.bodies)
    assert heard.types == {"multipart/form-data"}
    assert 0 < found.p50_ms <= found.p99_ms


def test_the_same_is_sent_again_where_that_is_asked_for() -> None:
    with served("plain") as (url, heard):
        generate(url, [_WAV], connections=1, seconds=0.1, same=True)
    assert set(heard.bodies) == {_WAV}


@pytest.mark.parametrize(("how", "kind"), (("failing", "500"), ("endless", "no answer of HTTP/1.1 with a length")))
def test_what_is_no_answer_counts_as_an_error(how: str, kind: str) -> None:
    with served(how) as (url, _):
        found = generate(url, [_WAV], connections=2, seconds=0.1)
    assert found.answers == 0
    assert found.errors[kind] > 0


def test_a_server_that_is_gone_ends_the_run() -> None:
    with served("closing") as (url, heard):
        heard.answer = "closing"
    with pytest.raises(NotReady, match="Connection refused"):
        generate(url, [_WAV], connections=2, seconds=5)
