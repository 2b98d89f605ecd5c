"""The instance's side of the control connection: start-up in order, then reconnecting for ever.

Before `take` the connection is all the instance has: when it breaks, the instance leaves (nobody knows it yet).
After `take` the supervisor may come and go; the instance serves on and offers what it holds to the next one.
"""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.clock import NS_PER_S, now_ns
from engine.errors import NotReady, PeerGone, ProtocolError
from engine.messages import Connection, connect, process_start_ticks

RECONNECT_S = 0.2


@dataclass(frozen=True)
class Message:
    """One control message with its descriptors, which now belong to the receiver."""

    fields: dict[str, Any]
    fds: list[int]

    @property
    def type(self) -> str:
        return str(self.fields.get("type"))


@dataclass(frozen=True)
class Holdings:
    """What a serving instance offers to a successor supervisor."""

    deployment: str
    version: int
    name: int
    record: dict[str, Any] | None  # of its deployment, for a successor that has lost its state file
    fds: tuple[int, ...]  # segment, doorbell, one reply eventfd a lane

    def to_json(self) -> dict[str, Any]:
        label = {"deployment": self.deployment, "version": self.version, "name": self.name}
        return {**label, "record": self.record}


class ControlChannel:
    """One connection to whichever supervisor lives."""

    def __init__(self, runtime_dir: str, key: str) -> None:
        self._runtime_dir = runtime_dir
        self._key = key
        self._connection: Connection | None = None
        self._next_try_ns = 0

    def open(self, holdings: Holdings | None = None) -> None:
        """Connects and says hello. Raises NotReady when nobody listens."""
        connection = connect(self._runtime_dir)
        pidfd = os.pidfd_open(os.getpid())
        try:
            hello = {"type": "hello", "role": "instance", "pid": os.getpid(), "key": self._key}
            hello["start_ticks"] = process_start_ticks(os.getpid())
            hello["holds"] = [holdings.to_json()] if holdings else []
            connection.send(hello, [pidfd, *(holdings.fds if holdings else ())])
        except PeerGone as error:
            connection.close()
            raise NotReady("the supervisor went away") from error
        finally:
            os.close(pidfd)
        self._connection = connection

    def try_reopen(self, holdings: Holdings) -> bool:
        """Whether a new connection was made; tries at most every `RECONNECT_S`."""
        if self._connection is not None or now_ns() < self._next_try_ns:
            return False
        self._next_try_ns = now_ns() + int(RECONNECT_S * NS_PER_S)
        try:
            self.open(holdings)
        except NotReady:
            return False
        return True

    @property
    def connected(self) -> bool:
        return self._connection is not None

    def fileno(self) -> int:
        """The descriptor to poll; raises PeerGone while not connected."""
        return self._live().fileno()

    def send(self, type_: str, fds: Sequence[int] = (), **fields: Any) -> None:
        """Raises PeerGone when the supervisor is gone."""
        self._live().send({"type": type_, **fields}, list(fds))

    def try_receive(self) -> Message | None:
        """The next message, or None. Raises PeerGone at the end of the connection."""
        received = self._live().receive()
        return None if received is None else Message(*received)

    def expect(self, type_: str) -> Message:
        """Waits for one message of this type. Raises PeerGone, or ProtocolError for another type."""
        poller = select.poll()
        poller.register(self.fileno(), select.POLLIN)
        while (message := self.try_receive()) is None:
            poller.poll()
        if message.type != type_:
            for fd in message.fds:
                os.close(fd)
            raise ProtocolError(f"expected {type_!r} from the supervisor, got {message.type!r}")
        return message

    def drop(self) -> None:
        """Closes the connection; `try_reopen` makes the next one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _live(self) -> Connection:
        if self._connection is None:
            raise PeerGone("not connected to a supervisor")
        return self._connection
