"""Events for programs: how things are at once, every change at once, figures every second."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.status.asking import ANSWER_S, Asking, serves
from tests.supervisor.engine_process import EngineProcess
from tests.support.wait import wait_for

HOST = b"Host: localhost\r\n"


class Stream:
    """One that is open."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._text = b""
        self.head = self._until(b"\r\n\r\n").decode()

    def event(self, name: str) -> dict[str, Any]:
        """The next of this name."""
        while True:
            lines = self._until(b"\n\n").decode().splitlines()
            if f"event: {name}" in lines:
                found: dict[str, Any] = json.loads(lines[-1].removeprefix("data: "))
                return found

    def _until(self, end: bytes) -> bytes:
        while end not in self._text:
            piece = self._connection.recv(65_536)
            assert piece, f"the stream ended after {self._text!r}"
            self._text += piece
        found, _, self._text = self._text.partition(end)
        return found


@contextmanager
def listening(asking: Asking, headers: bytes = b"") -> Iterator[Stream]:
    with asking.connect() as connection:
        connection.sendall(b"GET /events HTTP/1.1\r\n" + HOST + headers + b"\r\n")
        yield Stream(connection)


def test_a_program_hears_how_things_are_and_then_figures(asking: Asking) -> None:
    with listening(asking) as stream:
        assert stream.head.startswith("HTTP/1.1 200")
        assert "Content-Type: text/event-stream" in stream.head
        assert "X-Accel-Buffering: no" in stream.head and "Content-Length" not in stream.head
        state = stream.event("state")
        assert "figures" not in state and state["deployments"][0]["versions"][0]["spec"] == {"source": "factory"}
        first, second = stream.event("figures"), stream.event("figures")
        assert first["figures"].keys() == second["figures"].keys() == asking.get("/status").json["figures"].keys()
        assert second["at"] > first["at"]


def test_with_the_token_it_hears_all(asking: Asking) -> None:
    with listening(asking, f"Authorization: Bearer {asking.token}\r\n".encode()) as stream:
        assert stream.event("state")["deployments"][0]["versions"][0]["spec"]["location"] == "behaviour:echo"


def test_no_more_than_eight_listen(asking: Asking) -> None:
    with ExitStack() as stack:
        streams = [stack.enter_context(listening(asking)) for _ in range(8)]
        said = asking.get("/events")
        assert (said.status, said.json["code"]) == (503, "TOO_MANY_STREAMS")
        assert asking.ask("HEAD", "/events").status == 200
        for stream in streams:
            stream.event("figures")
    wait_for(lambda: _can_listen(asking), "one that hung up to make room")


def _can_listen(asking: Asking) -> bool:
    with listening(asking) as stream:
        return stream.head.startswith("HTTP/1.1 200")


def test_who_does_not_read_holds_up_nobody(asking: Asking) -> None:
    with asking.connect() as deaf, listening(asking) as stream:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        deaf.sendall(b"GET /events HTTP/1.1\r\n" + HOST + b"\r\n")
        for _ in range(2):
            stream.event("figures")
        assert asking.get("/healthz").status == 200


def test_what_changes_is_told_at_once(runtime_dir: Path) -> None:
    asking = Asking(runtime_dir)
    with EngineProcess(runtime_dir):
        wait_for(asking.path.exists, "the status server")
        wait_for(lambda: serves(asking, 2), "it to serve")
        with listening(asking) as stream:
            before = _pids(stream.event("state"))
            os.kill(before[0], signal.SIGKILL)
            give_up_at = time.monotonic() + ANSWER_S
            while before[0] in (now := _pids(stream.event("state"))) or len(now) < 2:
                assert time.monotonic() < give_up_at


def _pids(state: dict[str, Any]) -> list[int]:
    versions = state["deployments"][0]["versions"]
    return [each["pid"] for version in versions for each in version["instances"] if each["state"] == "ready"]
