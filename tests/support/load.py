"""Well-behaved clients that keep a server busy: each keeps its connection until the server announces its end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tests.support.http import Connection, ConnectionEnded


class Loaded(Protocol):
    """What can be loaded: a server, or whatever is in front of one."""

    @property
    def log(self) -> str: ...

    def connect(self) -> Connection: ...


class Answers:
    """What all clients have got so far; `log` is the server's, once the load is over."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.bodies: set[bytes] = set()
        self.failures: list[str] = []
        self.log = ""


@contextmanager
def load(
    server: Loaded, path: str, body: bytes, *, clients: int = 4, keep_alive: bool = True
) -> Iterator[Answers]:
    """POSTs `body` to `path` without a pause while the block runs. A client whose request fails stops.

    Without `keep_alive` each request has a connection of its own.
    """
    answers = Answers()
    enough = threading.Event()
    threads = [
        threading.Thread(target=_call, args=(server, path, body, keep_alive, answers, enough), name=f"client-{number}")
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        enough.set()
        for thread in threads:
            thread.join()
        answers.log = server.log


def _call(
    server: Loaded, path: str, body: bytes, keep_alive: bool, answers: Answers, enough: threading.Event
) -> None:
    connection = server.connect()
    while not enough.is_set():
        try:
            response = connection.request("POST", path, body)
        except (OSError, ConnectionEnded) as error:
            answers.failures.append(repr(error))
            break
        answers.statuses.append(response.status)
        answers.bodies.add(response.body)
        if response.closes or not keep_alive:
            connection.close()
            connection = server.connect()
    connection.close()
