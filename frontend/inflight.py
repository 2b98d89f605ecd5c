"""How much the bodies of all connections of a frontend may take together, and who waits when that is reached.

Bodies are counted by what has come, never by what was declared: a sender that declares much and sends little takes
little. Below `soft_bytes` everybody reads. Above it a body that wants more stops reading and waits in line; the first
in line goes on once *all* that it still lacks is free, and that is kept for it. As much as the longest body may take
lies between `soft_bytes` and `limit_bytes`, so when nobody else is left to finish, the first in line always can:
nobody waits for somebody who waits. Who waits too long is refused, the last in line first, until the first can go on.

Short bodies do not wait in line: they are over before it moves. Well beyond `limit_bytes` whatever comes is refused at
once.
Decides only; what it is told and what it asks for are the exchanges' doing. Everything runs on the loop, but for
`free_later`.
"""

from __future__ import annotations

import asyncio
from typing import Protocol


# What comes before a connection can be told to wait, a read each, may go beyond the limit by so much, or by a quarter.
_FIRST_READS_BYTES = 32 * 1024 * 1024


class BodyHolder(Protocol):
    """The exchange whose body is counted."""

    @property
    def is_short(self) -> bool:
        """Whether the body is, and will be, so short that waiting in line does not pay."""

    @property
    def lacking_bytes(self) -> int:
        """What the body still lacks; for one of unknown length, what it may still take."""

    def pause_for_memory(self) -> None:
        """Reads no more for now."""

    def resume_from_memory(self) -> None:
        """Reads on."""

    def refuse_for_memory(self) -> None:
        """Gives up what it holds, and answers that there was no room."""


class InflightBodies:
    """`used_bytes`: changed by the exchanges with every piece, which then call `press` if it is above `soft_bytes`."""

    def __init__(self, *, limit_bytes: int, longest_body_bytes: int, patience_s: float) -> None:
        self.limit_bytes = max(limit_bytes, longest_body_bytes)
        self.soft_bytes = self.limit_bytes - longest_body_bytes
        self.used_bytes = 0
        self._first_reads_bytes = min(_FIRST_READS_BYTES, self.limit_bytes // 4)
        self._patience_s = patience_s
        self._waiting: dict[BodyHolder, float] = {}  # since when; in order of arrival in line
        self._promised: dict[BodyHolder, float] = {}  # since when; what these lack is kept for them

    @property
    def waiting(self) -> int:
        """How many bodies wait for room."""
        return len(self._waiting)

    def press(self, holder: BodyHolder, now_s: float) -> None:
        """`holder` has taken a piece while much is taken: it goes on, waits, or is refused."""
        if holder in self._promised:
            return
        if self.used_bytes + self._promised_bytes() > self.limit_bytes + self._first_reads_bytes:
            holder.refuse_for_memory()
        elif not holder.is_short and holder not in self._waiting and holder.lacking_bytes:
            self._waiting[holder] = now_s
            holder.pause_for_memory()
            self._admit(now_s)

    def leave(self, holder: BodyHolder, now_s: float) -> None:
        """`holder` is complete, answered or gone: it neither waits nor lacks anything."""
        if self._waiting.pop(holder, None) is not None:
            holder.resume_from_memory()
        if self._promised.pop(holder, None) is not None:
            self._admit(now_s)

    def free(self, count: int, now_s: float) -> None:
        """So many bytes are no longer held."""
        self.used_bytes -= count
        if self._waiting:
            self._admit(now_s)

    def free_later(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        """`free` from any thread."""
        try:
            loop.call_soon_threadsafe(self._free_now, loop, count)
        except RuntimeError:  # the loop is closed, and everything with it
            return

    def sweep(self, now_s: float) -> None:
        """To be called now and then: ends what has lasted too long."""
        oldest_s = now_s - self._patience_s
        for holder in [holder for holder, since_s in self._promised.items() if since_s < oldest_s]:
            del self._promised[holder]  # too slow to keep room for: it waits like everybody else when it needs more
        self._admit(now_s)
        impatient = [holder for holder, since_s in self._waiting.items() if since_s < oldest_s]
        promises = len(self._promised)
        while impatient and len(self._promised) == promises:
            holder = impatient.pop()
            del self._waiting[holder]
            holder.resume_from_memory()
            holder.refuse_for_memory()
            self._admit(now_s)

    def _free_now(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        self.free(count, loop.time())

    def _admit(self, now_s: float) -> None:
        while self._waiting:
            first = next(iter(self._waiting))
            # The first of all may go into what first reads take: they have come, and nobody else would end the wait.
            most_bytes = self.limit_bytes + (0 if self._promised else self._first_reads_bytes)
            if self.used_bytes + self._promised_bytes() + first.lacking_bytes > most_bytes:
                return
            del self._waiting[first]
            self._promised[first] = now_s
            first.resume_from_memory()

    def _promised_bytes(self) -> int:
        return sum(holder.lacking_bytes for holder in self._promised)
