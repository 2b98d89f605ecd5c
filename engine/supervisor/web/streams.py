"""Events for programs: what changes at once, figures every second, on connections that have no end.

Nobody is waited for: who has not taken the last event misses figures, and gets the newest state once it has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Protocol

from engine.supervisor.web.answer import StatusAnswer
from engine.supervisor.web.document import essence, figures_of, moment_of, state_of
from engine.supervisor.web.refusal import StatusRefusal
from engine.supervisor.web.snapshot import Snapshot

MOST_STREAMS = 8
CONTENT_TYPE = "text/event-stream; charset=utf-8"

_BEGIN = b"retry: 2000\n\n"  # ms after which a client that was cut off comes again


class Listening(Protocol):
    """A connection that is answered without an end."""

    def push(self, piece: bytes) -> bool: ...


class EventStream:
    """What one of them has been told."""

    def __init__(self, *, whole: bool) -> None:
        """`whole`: it has the token."""
        self.whole = whole
        self.seen: Hashable = None  # essence of the state that it was sent last


class EventStreams:
    """For the thread of the status server."""

    def __init__(self, snapshot: Callable[[], Snapshot | None]) -> None:
        self._latest = snapshot
        self._streams: dict[Listening, EventStream] = {}

    @property
    def any(self) -> bool:
        return bool(self._streams)

    def open(self, connection: Listening, *, whole: bool) -> StatusAnswer:
        """The answer that begins one; the first events follow with the next look. Raises StatusRefusal."""
        if len(self._streams) >= MOST_STREAMS:
            raise StatusRefusal(503, "TOO_MANY_STREAMS", f"{MOST_STREAMS} programs listen already", Retry_After="5")
        self._streams[connection] = EventStream(whole=whole)
        return self.head

    @property
    def head(self) -> StatusAnswer:
        """Proxies are told not to collect what is to arrive at once."""
        return StatusAnswer(200, None, CONTENT_TYPE, {"X-Accel-Buffering": "no"})

    def close(self, connection: Listening) -> None:
        """Nobody listens there any more. Idempotent."""
        self._streams.pop(connection, None)

    def tell_state(self) -> None:
        """A new snapshot may say something new."""
        snapshot = self._latest()
        if snapshot is None:
            return
        now = essence(snapshot.state)
        news: dict[bool, bytes] = {}  # made once for all who may see the same
        for connection, stream in list(self._streams.items()):
            if stream.seen == now:
                continue
            if stream.whole not in news:
                news[stream.whole] = _event("state", state_of(snapshot, whole=stream.whole))
            begin = _BEGIN if stream.seen is None else b""
            if connection.push(begin + news[stream.whole]):
                stream.seen = now

    def tell_figures(self) -> None:
        """Once a second."""
        snapshot = self._latest()
        if snapshot is None or not self._streams:
            return
        event = _event("figures", {**moment_of(snapshot), **figures_of(snapshot)})
        for connection in list(self._streams):
            connection.push(event)


def _event(name: str, document: Mapping[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps(document, separators=(',', ':'))}\n\n".encode()
