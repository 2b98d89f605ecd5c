"""The other end of one connection of the control socket: read, and written to without ever waiting for a slow reader.

What a slow reader has not taken stands in its outbox, with duplicates of the descriptors; one that lets it grow past
`LONGEST_OUTBOX` is disconnected. A lost connection is no death: whoever lives comes back and offers what it holds.

A message whose handling failed for a reason of ours is handled again, before any other of that peer. Where that cannot
be, because its descriptors are gone or it fails each time, the peer is disconnected and says everything anew.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from engine.errors import CallerError, PeerGone, ProtocolError
from engine.messages import Connection
from engine.supervisor.loop import Loop
from engine.supervisor.parcel import Parcel

MOST_TRIES = 10  # of one message; then its peer has waited some ten seconds
LONGEST_OUTBOX = 2000  # arbitrary: a hundred times what a burst of events needs
_FLUSH_AGAIN_S = 0.05

_log = logging.getLogger(__name__)


class Peer:
    """The other end of one connection. `on_parcel` and `on_gone` are set once its hello says what it is."""

    def __init__(self, loop: Loop, connection: Connection) -> None:
        self._loop = loop
        self._connection = connection
        self._outbox: deque[tuple[dict[str, Any], list[int]]] = deque()
        self.pid = connection.peer_pid
        self.on_parcel: Callable[[Parcel], None] = _unexpected
        self.on_gone: Callable[[], None] = _nothing
        self.open = True
        self._unheard = False  # nothing more can be sent; what it said before that is still to be read
        self._held: tuple[Callable[[Parcel], None], Parcel] | None = None  # what is being handled, and by whom
        self._tries = 0

    def listen(self) -> None:
        """Begins to read; `on_parcel` is what it is to be by then."""
        self._loop.watch(self._connection.fileno(), self._read)

    @property
    def doing(self) -> str:
        """What is being handled, in words; empty for nothing."""
        return f"{self._held[1].type} of pid {self.pid}" if self._held is not None else ""

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Sends now or queues; never waits. `fds` stay the caller's. Nothing happens if the connection is lost.

        Raises OSError if there is no descriptor left to queue `fds`; then nothing was sent.
        """
        if not self.open or self._unheard:
            return
        try:
            if not self._outbox and self._sends(message, fds):
                return
        except PeerGone:
            self._stop_sending()
            return
        if len(self._outbox) >= LONGEST_OUTBOX:
            _log.error("pid %d does not read its messages; disconnected", self.pid)
            self.close()
            return
        self._outbox.append((message, _duplicates(fds)))
        self._loop.watch(self._connection.fileno(), self._read, self._flush)

    def close(self) -> None:
        """Closes the connection and tells `on_gone`. Idempotent."""
        if not self.open:
            return
        self.open = False
        self._loop.unwatch(self._connection.fileno())
        self._connection.close()
        self._empty_outbox()
        self._let_go()
        self._loop.attempt(self.on_gone)

    def _sends(self, message: dict[str, Any], fds: Sequence[int]) -> bool:
        """Whether it was taken. For want of a descriptor for a large body it is not, and tried again."""
        try:
            return self._connection.try_send(message, fds)
        except OSError:
            return False

    def _stop_sending(self) -> None:
        """Its last words, a goodbye perhaps, stand before the end of the connection and are read by `_read`."""
        self._unheard = True
        self._connection.hang_up()  # should it live, it learns that it has to come anew
        self._empty_outbox()
        self._loop.watch(self._connection.fileno(), self._read)

    def _empty_outbox(self) -> None:
        while self._outbox:
            _close_all(self._outbox.popleft()[1])

    def _flush(self) -> None:
        sent = 0
        try:
            while self._outbox and self._sends(*self._outbox[0]):
                _close_all(self._outbox.popleft()[1])
                sent += 1
        except PeerGone:
            self._stop_sending()
            return
        if not self._outbox:
            self._loop.watch(self._connection.fileno(), self._read)
        elif not sent:
            # There is room, and yet it is not taken: for want of memory or descriptors, which no event announces.
            self._loop.watch(self._connection.fileno(), self._read)
            self._loop.call_after(_FLUSH_AGAIN_S, self._flush_again)

    def _flush_again(self) -> None:
        if self.open and self._outbox:
            self._loop.watch(self._connection.fileno(), self._read, self._flush)

    def hear_out(self) -> None:
        """Handles what it said before it died, whichever of the two the loop met first."""
        self._read()

    def _read(self) -> None:
        """Handles all that has arrived."""
        try:
            while self.open:
                if self._held is None:
                    received = self._connection.receive()
                    if received is None:
                        return
                    self._held, self._tries = (self.on_parcel, Parcel(*received)), 0
                self._handle(*self._held)
        except PeerGone:
            self.close()
        except (ProtocolError, CallerError) as error:
            _log.error("message of pid %d refused: %s; disconnected", self.pid, error)
            self.close()

    def _handle(self, handler: Callable[[Parcel], None], parcel: Parcel) -> None:
        """Raises what the handler raises; the loop writes it down and comes back, unless the peer was disconnected."""
        self._tries += 1
        with contextlib.ExitStack() as undo:
            undo.callback(self._give_up, parcel)
            handler(parcel)
            undo.pop_all()
        self._let_go()

    def _give_up(self, parcel: Parcel) -> None:
        """Disconnects a peer whose message cannot be handled once more."""
        if not parcel.is_whole or self._tries >= MOST_TRIES:
            self.close()

    def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held[1].close()


def _unexpected(parcel: Parcel) -> None:
    raise ProtocolError(f"{parcel.type!r} is not expected here")


def _nothing() -> None:
    """For a connection whose loss concerns nobody."""


def _duplicates(fds: Sequence[int]) -> list[int]:
    """All of them, or none and OSError."""
    made: list[int] = []
    with contextlib.ExitStack() as undo:
        undo.callback(_close_all, made)
        for fd in fds:
            made.append(os.dup(fd))
        undo.pop_all()
    return made


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
