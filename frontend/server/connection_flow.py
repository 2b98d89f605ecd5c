"""When a connection reads and when its application writes: the two directions of back-pressure.

Reading may be stopped for several reasons at once, and goes on when the last of them is gone.
"""

from __future__ import annotations

import asyncio
from enum import IntFlag


class Pause(IntFlag):
    """Why a connection does not read."""

    UNFETCHED = 1  # the application has not taken what is there
    PIPELINE = 2  # as many requests wait as may
    MEMORY = 4  # the bodies of all connections take what they may
    PARSING = 8  # what was read last is still being parsed, in turns with other connections


class ConnectionFlow:
    """Pausing and resuming of one transport. Writers wait while the transport's buffer is above its mark."""

    __slots__ = ("_pauses", "_transport", "_writable", "drained", "write_paused")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._pauses = 0
        self._writable: asyncio.Future[None] | None = None
        self.write_paused = False
        self.drained = False  # the transport's buffer went below its mark since somebody last reset this

    @property
    def read_paused(self) -> bool:
        return self._pauses != 0

    def pause_reading(self, reason: Pause) -> None:
        if not self._pauses and not self._transport.is_closing():
            self._transport.pause_reading()
        self._pauses |= reason

    def resume_reading(self, reason: Pause) -> None:
        if not self._pauses:
            return
        self._pauses &= ~reason
        if not self._pauses and not self._transport.is_closing():
            self._transport.resume_reading()

    def read_on(self) -> None:
        """Reads whatever stood against it: what comes will be thrown away."""
        if self._pauses:
            self.resume_reading(Pause(self._pauses))

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused, self.drained = False, True
        waiter, self._writable = self._writable, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def drain(self) -> None:
        """Waits until there is room to write, or nobody to write to."""
        while self.write_paused:
            if self._writable is None:
                self._writable = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._writable)
