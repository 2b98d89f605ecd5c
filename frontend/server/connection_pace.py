"""How fast the peer of one connection moves, both ways, and whether that is too slow.

Looked at about twice a second, so that nothing needs a timer of its own: bytes only count up in between. A peer may
pause for `body_idle_timeout_s`, and over any stretch of that length it must move `min_body_bytes_per_s`: or else one
byte now and then would hold a connection for ever. Time in which we do not want to read does not count.
"""

from __future__ import annotations

import asyncio

from frontend.server.connection_flow import ConnectionFlow
from frontend.server.transport_limits import TransportLimits


class ConnectionPace:
    """All moments are the loop's time. `received_bytes` is counted up by the connection."""

    __slots__ = ("_headers_since_s", "_limits", "_reading", "_sending", "_since_s", "_unread_bytes", "received_bytes")

    def __init__(self, limits: TransportLimits, now_s: float) -> None:
        self._limits = limits
        self.received_bytes = 0
        self._since_s = now_s  # when this connection last moved on
        self._headers_since_s = now_s  # the first byte of the last head had come
        self._sending = _Stretch(limits, now_s)
        self._reading = _Stretch(limits, now_s)
        self._unread_bytes = 0  # of ours, when last looked at

    def moved(self, now_s: float) -> None:
        """Something begins, or is over: what was before does not count."""
        self._since_s = now_s
        self._sending.restart(now_s, self.received_bytes)

    def head_begins(self, now_s: float) -> None:
        """The first byte of a head has come: a silence before it is none of the body that follows."""
        self._headers_since_s = now_s
        self._sending.restart(now_s, self.received_bytes)

    def headers_take_too_long(self, now_s: float) -> bool:
        return now_s - self._headers_since_s > self._limits.header_timeout_s

    def is_silent_too_long(self, now_s: float) -> bool:
        """For a connection that has said nothing yet."""
        return now_s - self._since_s > self._limits.header_timeout_s

    def is_idle_too_long(self, now_s: float) -> bool:
        """For a connection between two requests."""
        return now_s - self._since_s > self._limits.keepalive_s

    def is_sending_too_slowly(self, flow: ConnectionFlow, now_s: float) -> bool:
        """For a connection whose body is awaited."""
        if flow.read_paused:
            self._sending.restart(now_s, self.received_bytes)
            return False
        return self._sending.is_too_slow(now_s, self.received_bytes)

    def is_reading_too_slowly(self, transport: asyncio.Transport, flow: ConnectionFlow, now_s: float) -> bool:
        """Whether the peer leaves our answer unread."""
        unread_bytes, before_bytes = transport.get_write_buffer_size(), self._unread_bytes
        self._unread_bytes = unread_bytes
        if not unread_bytes:
            return False
        reading = self._reading
        if not before_bytes or flow.drained:
            flow.drained = False
            reading.restart(now_s, 0)
            return False
        return reading.is_too_slow(now_s, reading.moved_bytes + max(0, before_bytes - unread_bytes))

    def is_lingering_too_long(self, transport: asyncio.Transport, now_s: float) -> bool:
        """For a connection whose peer has yet to see that all is said."""
        if transport.get_write_buffer_size():
            self._since_s = now_s
            return False
        return now_s - self._since_s > self._limits.linger_s


class _Stretch:
    """One direction: a count of bytes, and when it moved."""

    __slots__ = ("_begun_s", "_begun_bytes", "_limits", "_moved_s", "moved_bytes")

    def __init__(self, limits: TransportLimits, now_s: float) -> None:
        self._limits = limits
        self._moved_s = self._begun_s = now_s
        self.moved_bytes = self._begun_bytes = 0

    def restart(self, now_s: float, moved_bytes: int) -> None:
        self._moved_s = self._begun_s = now_s
        self.moved_bytes = self._begun_bytes = moved_bytes

    def is_too_slow(self, now_s: float, moved_bytes: int) -> bool:
        """`moved_bytes`: the count as it is now."""
        limits = self._limits
        if moved_bytes != self.moved_bytes:
            self.moved_bytes, self._moved_s = moved_bytes, now_s
        lasted_s = now_s - self._begun_s
        too_slow = now_s - self._moved_s > limits.body_idle_timeout_s
        if lasted_s > limits.body_idle_timeout_s:
            too_slow = too_slow or moved_bytes - self._begun_bytes < limits.min_body_bytes_per_s * lasted_s
            self._begun_s, self._begun_bytes = now_s, moved_bytes
        return too_slow
