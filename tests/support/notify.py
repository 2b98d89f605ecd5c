"""A service manager's ear: the socket that a service is told to report to, and what it has heard there."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.wait import wait_for


class NotifySocket:
    """`name`: what goes into NOTIFY_SOCKET; with an @ at its beginning it is an abstract one, without a file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.heard: list[str] = []  # single lines, in order
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self._socket.setblocking(False)

    def listen(self) -> list[str]:
        """All that was ever heard."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.heard += self._socket.recv(65_536).decode().splitlines()
        return self.heard

    def wait_for(self, part: str) -> str:
        """The first line heard that contains `part`."""

        def found() -> str:
            return next((line for line in self.listen() if part in line), "")

        return wait_for(found, f"{part!r} at the service manager, which has heard {self.heard[-5:]}")

    def forget(self) -> None:
        """What comes next is news."""
        self.listen()
        self.heard.clear()

    def close(self) -> None:
        self._socket.close()


@contextmanager
def notify_socket(name: str) -> Iterator[NotifySocket]:
    """One that listens until the block ends."""
    heard = NotifySocket(name)
    try:
        yield heard
    finally:
        heard.close()
