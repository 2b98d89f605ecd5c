"""A free port that stays ours while nobody listens on it, so that a server can come back to it."""

from __future__ import annotations

import socket
from types import TracebackType


class HeldPort:
    """A TCP port of 127.0.0.1, held by a bound socket that does not listen: who connects is refused at once.

    A server that sets SO_REUSEADDR (Redis, Postgres, asyncio do) can listen on it, end and come back, and no other
    test can be given it in between. A context manager; closing lets go of it.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    def __enter__(self) -> HeldPort:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Anybody may have the port now."""
        self._socket.close()
