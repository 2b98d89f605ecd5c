"""What a peer of a frontend may take: header sizes, pauses, connections, and the times of leaving.

One immutable value, made from the settings once per process and read by the protocol, the server and the worker.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from engine.config import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportLimits:
    """Sizes in bytes, times in seconds."""

    header_bytes: int = 64 * 1024
    header_fields: int = 100
    header_timeout_s: float = 10.0
    body_idle_timeout_s: float = 30.0
    keepalive_s: float = 75.0
    max_connections: int = 1000
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
            keepalive_s=settings.keepalive_s,
            max_connections=settings.max_connections,
            drain_s=settings.drain_s,
            graceful_timeout_s=settings.graceful_timeout_s,
            discard_bytes=4 * settings.max_upload_bytes,
        )

    def changed(self, **values: float) -> TransportLimits:
        """A copy with these values."""
        return dataclasses.replace(self, **values)  # type: ignore[arg-type]
