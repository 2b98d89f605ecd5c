"""How much the bodies of all connections of a frontend may take together, and who waits when that is reached.

Bodies are counted by what has come, never by what was declared: a sender that declares much and sends little takes
little. Below `soft_bytes` everybody reads. Above it a body that wants more stops reading and waits in line; the first
in line goes on once *all* that it still lacks is free, and that is kept for it. As much as the longest body may take
lies between `soft_bytes` and `limit_bytes`, so when nobody else is left to finish, the first in line always can:
nobody waits for somebody who waits. Who waits too long is refused, the last in line first, until the first can go on.

What decoding a complete body takes (`Wish`) comes out of the same room, and before any body that is not complete:
whoever decodes has all that it needs, and will let go of it. Where nobody is left who will, and what waits in line
fills the room, the end of the line is refused for it; a wish that is too large for all of the room is granted alone.

Short bodies do not wait in line: they are over before it moves. Well beyond `limit_bytes` whatever comes is refused at
once.
Decides only; what it is told and what it asks for are the exchanges' doing. Everything runs on the loop, but for
`free_later`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol


# What comes before a connection can be told to wait, a read each, may go beyond the limit by so much, or by a quarter.
_FIRST_READS_BYTES = 32 * 1024 * 1024


class BodyHolder(Protocol):
    """The exchange whose body is counted."""

    @property
    def is_short(self) -> bool:
        """Whether the body is, and will be, so short that waiting in line does not pay."""

    @property
    def held_bytes(self) -> int:
        """What is counted of the body."""

    @property
    def lacking_bytes(self) -> int:
        """What the body still lacks; for one of unknown length, what it may still take."""

    def pause_for_memory(self) -> None:
        """Reads no more for now."""

    def resume_from_memory(self) -> None:
        """Reads on."""

    def refuse_for_memory(self) -> None:
        """Gives up what it holds, and answers that there was no room."""


class Wish:
    """Room for decoding one complete body, which counts `body_bytes` besides. `told` hears once whether it is given."""

    __slots__ = ("beyond_bytes", "body_bytes", "size_bytes", "told", "until_s")

    def __init__(self, size_bytes: int, body_bytes: int, until_s: float, told: Callable[[bool], None]) -> None:
        self.size_bytes = size_bytes
        self.body_bytes = body_bytes
        self.until_s = until_s
        self.told: Callable[[bool], None] | None = told
        self.beyond_bytes = 0  # of the size, once granted: what goes beyond the limit

    def tell(self, granted: bool) -> None:
        """Calls `told` the first time, and lets go of it."""
        told, self.told = self.told, None
        if told is not None:
            told(granted)


class InflightBodies:
    """`used_bytes`: changed by the exchanges with every piece, which then call `press` if it is above `soft_bytes`."""

    def __init__(self, *, limit_bytes: int, longest_body_bytes: int, patience_s: float) -> None:
        self.limit_bytes = max(limit_bytes, longest_body_bytes)
        # As much again for decoding, where there is so much: the less bodies hold that wait, the fewer are refused.
        wanted_bytes = max(self.limit_bytes - 2 * longest_body_bytes, self.limit_bytes // 4)
        self.soft_bytes = min(self.limit_bytes - longest_body_bytes, wanted_bytes)
        self.used_bytes = 0
        self._first_reads_bytes = min(_FIRST_READS_BYTES, self.limit_bytes // 4)
        self._patience_s = patience_s
        self._waiting: dict[BodyHolder, float] = {}  # since when; in order of arrival in line
        self._promised: dict[BodyHolder, float] = {}  # since when; what these lack is kept for them
        self._wishes: deque[Wish] = deque()
        self._granted = 0  # wishes whose room is not given back
        self._beyond_bytes = 0  # of these
        self._is_admitting = False

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._waiting) + len(self._wishes)

    def press(self, holder: BodyHolder, now_s: float) -> None:
        """`holder` has taken a piece while much is taken: it goes on, waits, or is refused."""
        if holder in self._promised:
            return
        most_bytes = self.limit_bytes + self._first_reads_bytes + self._beyond_bytes
        if self.used_bytes + self._promised_bytes() > most_bytes:
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
        if self.waiting:
            self._admit(now_s)

    def free_later(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        """`free` from any thread."""
        try:
            loop.call_soon_threadsafe(self._free_now, loop, count)
        except RuntimeError:  # the loop is closed, and everything with it
            return

    def ask(self, wish: Wish, now_s: float) -> None:
        """`wish` waits in line, and is told what became of it, perhaps at once."""
        self._wishes.append(wish)
        self._admit(now_s)

    def take_back(self, wish: Wish, now_s: float) -> None:
        """Nobody wants `wish` any more."""
        if wish in self._wishes:
            self._wishes.remove(wish)
            wish.tell(False)
            self._admit(now_s)

    def give_back(self, size_bytes: int, beyond_bytes: int, now_s: float) -> None:
        """What was granted is no longer held."""
        self._granted -= 1
        self._beyond_bytes -= beyond_bytes
        self.free(size_bytes, now_s)

    def give_back_later(self, loop: asyncio.AbstractEventLoop, size_bytes: int, beyond_bytes: int) -> None:
        """`give_back` from any thread."""
        try:
            loop.call_soon_threadsafe(self._give_back_now, loop, size_bytes, beyond_bytes)
        except RuntimeError:  # the loop is closed, and everything with it
            return

    def sweep(self, now_s: float) -> None:
        """To be called now and then: ends what has lasted too long."""
        oldest_s = now_s - self._patience_s
        for holder in [holder for holder, since_s in self._promised.items() if since_s < oldest_s]:
            del self._promised[holder]  # too slow to keep room for: it waits like everybody else when it needs more
        for wish in [wish for wish in self._wishes if wish.until_s <= now_s]:
            self._wishes.remove(wish)
            wish.tell(False)
        self._admit(now_s)
        impatient = [holder for holder, since_s in self._waiting.items() if since_s < oldest_s]
        promises = len(self._promised)
        while impatient and len(self._promised) == promises:
            self._refuse(impatient.pop())
            self._admit(now_s)
            impatient = [holder for holder in impatient if holder in self._waiting]

    def _free_now(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        self.free(count, loop.time())

    def _give_back_now(self, loop: asyncio.AbstractEventLoop, size_bytes: int, beyond_bytes: int) -> None:
        self.give_back(size_bytes, beyond_bytes, loop.time())

    def _refuse(self, holder: BodyHolder) -> None:
        del self._waiting[holder]
        holder.resume_from_memory()
        holder.refuse_for_memory()

    def _admit(self, now_s: float) -> None:
        if self._is_admitting:  # told by one who is being refused here
            return
        self._is_admitting = True
        try:
            self._grant()
            if not self._wishes:
                self._admit_bodies(now_s)
        finally:
            self._is_admitting = False

    def _grant(self) -> None:
        while self._wishes and self._has_room(self._wishes[0]):
            wish = self._wishes.popleft()
            wish.beyond_bytes = max(0, min(wish.size_bytes, self.used_bytes + wish.size_bytes - self.limit_bytes))
            self.used_bytes += wish.size_bytes
            self._beyond_bytes += wish.beyond_bytes
            self._granted += 1
            wish.tell(True)

    def _has_room(self, wish: Wish) -> bool:
        """Whether `wish`, the first, may have its room; makes some where only those are left who wait."""
        all_bytes = self.used_bytes + self._promised_bytes() + wish.size_bytes
        if all_bytes <= self.limit_bytes:
            return True
        if self._granted or self._promised:
            return False  # these will end
        most_bytes = self.limit_bytes + self._first_reads_bytes
        waiting_bytes = sum(holder.held_bytes for holder in self._waiting)
        waiting_bytes += sum(other.body_bytes for other in self._wishes if other is not wish)
        own_bytes = wish.size_bytes + wish.body_bytes
        moving_bytes = all_bytes - waiting_bytes - own_bytes
        if own_bytes + moving_bytes > most_bytes and moving_bytes > self._first_reads_bytes:
            return False  # so much is being computed, or still comes in
        self._make_room(all_bytes - most_bytes)
        return True

    def _make_room(self, count: int) -> None:
        """Refuses the last in line until `count` bytes are free, or nobody is left: incomplete bodies first."""
        for holder in reversed(list(self._waiting)):
            if count <= 0:
                return
            count -= holder.held_bytes
            self._refuse(holder)
        while count > 0 and len(self._wishes) > 1:
            last = self._wishes.pop()
            count -= last.body_bytes
            last.tell(False)

    def _admit_bodies(self, now_s: float) -> None:
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
