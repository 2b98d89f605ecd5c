"""What a peer of a frontend may take: header sizes, pauses, connections, and the times of leaving.

One immutable value, made from the settings once per process and read by the protocol, the server and the worker.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from engine.config import Settings
from frontend.server.message import body_limit_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportLimits:
    """Sizes in bytes, times in seconds."""

    header_bytes: int = 64 * 1024
    header_fields: int = 100
    header_timeout_s: float = 10.0
    body_idle_timeout_s: float = 30.0  # also of a client that does not read its answer
    min_body_bytes_per_s: float = 1000.0  # over any `body_idle_timeout_s`, in both directions
    keepalive_s: float = 75.0
    max_connections: int = 1000
    max_pipelined: int = 16  # requests of one connection that wait for the answer of another
    max_inflight_bytes: int = 256 * 1024 * 1024
    longest_body_bytes: int = 100 * 1024 * 1024
    inflight_wait_s: float = 10.0
    drain_s: float = 1.0
    graceful_timeout_s: float = 4.0
    # A body that nobody wants any more is still read up to here, so that its sender gets to see the refusal: closing
    # with unread bytes makes the kernel reset the connection, and the answer is lost with it.
    discard_bytes: int = 512 * 1024 * 1024
    linger_s: float = 2.0  # how long a peer may go on sending after the last answer of its connection

    @classmethod
    def from_settings(cls, settings: Settings) -> TransportLimits:
        """The limits that an operator has set."""
        return cls(
            header_timeout_s=settings.header_timeout_s,
            body_idle_timeout_s=settings.body_idle_timeout_s,
            min_body_bytes_per_s=settings.min_body_bytes_per_s,
            keepalive_s=settings.keepalive_s,
            max_connections=settings.max_connections,
            max_inflight_bytes=settings.max_inflight_bytes,
            longest_body_bytes=body_limit_bytes(settings.max_upload_bytes),
            inflight_wait_s=settings.inflight_wait_s,
            drain_s=settings.drain_s,
            graceful_timeout_s=settings.graceful_timeout_s,
            discard_bytes=4 * settings.max_upload_bytes,
        )

    def changed(self, **values: float) -> TransportLimits:
        """A copy with these values."""
        return dataclasses.replace(self, **values)  # type: ignore[arg-type]
