"""Who has which lane of one segment: handing out, and taking back from the dead.

A lane has its pages while somebody has it: a free one costs no memory, and one without memory is not handed out.

A lane changes hands only when all its slots are FREE. What a living instance still has leased out of a dead
frontend's lane is waited for, never taken: the instance stores into it, and no check on its side replaces the wait.
"""

from __future__ import annotations

import functools
import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path

from engine.errors import InternalError, OutOfMemory, ProtocolError
from engine.launch.identity import Identity
from engine.launch.locks import StepLock
from engine.shm.bell import Bell
from engine.shm.steward import Steward
from engine.shm.words import FREE, state_of
from engine.supervisor.frontend import Frontend
from engine.supervisor.loop import Loop, Timer

_BELT_S = 1.0  # another look at lanes that wait, should a hint be lost or the lease have been busy
_MEMORY_S = 1.0  # another try where there was no memory for a lane; nobody says when there is

_MOST_NAMED = 20  # owners; whoever reads it wants to know which programs they are

_log = logging.getLogger(__name__)


class LaneTable:
    """All lanes of one segment. Each is free, owned, or being swept; `bells` has None where no bell is known yet."""

    def __init__(
        self,
        loop: Loop,
        *,
        steward: Steward,
        lanes: int,
        lock_path: Path,
        is_dead_name: Callable[[int], bool],
        on_free: Callable[[], None],
    ) -> None:
        """`is_dead_name`: whether an instance's name is known to be a dead one's. `on_free`: a lane can be had."""
        self._loop = loop
        self._steward = steward
        self._lock = StepLock(lock_path)
        self._is_dead_name = is_dead_name
        self._on_free = on_free
        self._belt: Timer | None = None
        self._short = ""  # why the last lane that was wanted could not be had for want of memory
        self._try_again: Timer | None = None
        self._free: deque[int] = deque(range(lanes))
        self._swept: set[int] = set()
        self.owners: dict[int, Frontend] = {}
        self.bells: list[Bell | None] = [None] * lanes

    # --- handing out ------------------------------------------------------------------------------------------------

    def assign(self, frontend: Frontend) -> int | None:
        """Makes `frontend` the owner of a free lane; None when there is none, or none with a bell and with memory.

        `on_free` is called again where there was no memory.
        """
        lane = next((lane for lane in self._free if self.bells[lane] is not None), None)
        if lane is None:
            return None
        try:
            with self._lock.held():
                self._steward.assign(lane, frontend.identity.pid, frontend.identity.start_ticks)
        except OutOfMemory as error:
            self._short = str(error)
            if self._try_again is None:
                self._try_again = self._loop.call_after(_MEMORY_S, self._memory_look)
            return None
        self._short = ""
        self._free.remove(lane)
        self.owners[lane] = frontend
        return lane

    def take_back(self, frontend: Frontend) -> None:
        """A frontend was not told of the lane that it was just given."""
        lane = self.lane_of(frontend)
        if lane is not None:
            del self.owners[lane]
            self.reclaim(lane)

    def lane_of(self, frontend: Frontend) -> int | None:
        return next((lane for lane, owner in self.owners.items() if owner is frontend), None)

    def claim(self, lane: int, frontend: Frontend) -> Frontend:
        """`frontend` says that it owns `lane`; returns who stood for it until now. Raises ProtocolError if it lies."""
        owner = self.owners.get(lane)
        if owner is None or owner.identity != frontend.identity:
            raise ProtocolError(f"pid {frontend.identity.pid} offers lane {lane}, which is not its own")
        self.owners[lane] = frontend
        return owner

    # --- a predecessor's lanes --------------------------------------------------------------------------------------

    def adopt(self, stand_in: Callable[[Identity], Frontend | None]) -> None:
        """Takes the owners from the segment. `stand_in` gives somebody for a process that lives, None for a dead."""
        for lane in list(self._free):
            row = self._steward.owner_of(lane)
            if not row.pid:
                self._keep_unless_free(lane)
                continue
            self._free.remove(lane)
            owner = stand_in(Identity(row.pid, row.start_ticks))
            if owner is not None:
                self.owners[lane] = owner
            else:
                self.reclaim(lane)

    def _keep_unless_free(self, lane: int) -> None:
        """A lane without an owner whose hand-over was cut short: in the middle of its sweep, or with its pages."""
        if self._steward.sweep(lane, self._is_dead_name):
            self._free.remove(lane)
            self.reclaim(lane)
        else:
            self._steward.vacate(lane)

    # --- taking back ------------------------------------------------------------------------------------------------

    def frontend_died(self, frontend: Frontend) -> None:
        """Its pidfd said so."""
        for lane in [lane for lane, owner in self.owners.items() if owner is frontend]:
            del self.owners[lane]
            self.reclaim(lane)

    def reclaim(self, lane: int) -> None:
        """Sweeps a dead owner's lane now, and again at every hint until it is all FREE."""
        self._swept.add(lane)
        self.look_again()  # first: should it not be possible to watch the bell, the belt comes
        bell = self.bells[lane]
        if bell is not None and lane in self._swept:
            self._loop.watch(bell.fileno(), functools.partial(self._rang, bell))

    def look_again(self) -> None:
        """An instance died, or a reply bell rang: perhaps a lane is FREE now."""
        for lane in sorted(self._swept):
            self._loop.guard.run((self, lane), functools.partial(self._sweep, lane))  # the belt comes again
        if self._belt is None and self._swept:
            self._belt = self._loop.call_after(_BELT_S, self._belt_look)

    def _sweep(self, lane: int) -> None:
        with self._lock.held():
            left = self._steward.sweep(lane, self._is_dead_name)
            if not left:
                self._steward.vacate(lane)
        if not left:
            self._swept_clean(lane)

    def give_back(self, frontend: Frontend) -> None:
        """A living frontend has let go of its lane for ever. One that left slots behind keeps it until its death."""
        lane = self.lane_of(frontend)
        if lane is None:
            return
        try:
            with self._lock.held():
                self._steward.vacate(lane)
        except InternalError as error:
            _log.error("pid %d let go of lane %d too early: %s", frontend.identity.pid, lane, error)
            return
        del self.owners[lane]
        self._swept_clean(lane)

    def close(self) -> None:
        """Before the bells are closed."""
        for lane in sorted(self._swept):
            self._unwatch(lane)
            self._loop.guard.over((self, lane))
        for timer in (self._belt, self._try_again):
            if timer is not None:
                timer.cancel()
        self._lock.close()

    def _swept_clean(self, lane: int) -> None:
        self._swept.discard(lane)
        self._unwatch(lane)
        if lane not in self._free:
            self._free.append(lane)
        self._loop.attempt(self._on_free)

    def _unwatch(self, lane: int) -> None:
        bell = self.bells[lane]
        if bell is not None:
            self._loop.unwatch(bell.fileno())

    def _rang(self, bell: Bell) -> None:
        bell.drain()
        self.look_again()

    def _belt_look(self) -> None:
        self._belt = None
        self.look_again()

    def _memory_look(self) -> None:
        self._try_again = None
        self._on_free()

    # --- what there is ----------------------------------------------------------------------------------------------

    @property
    def free(self) -> int:
        """Lanes that can be handed out."""
        return len(self._free)

    @property
    def being_swept(self) -> int:
        """Lanes of the dead in which the living still work."""
        return len(self._swept)

    def refusal(self) -> str:
        """Why there is no lane for one more, in words; empty where there is one that cannot be had yet, but soon."""
        return self._short if self._free else self._all_taken()

    def _all_taken(self) -> str:
        """Who has all the lanes."""
        pids = sorted({owner.identity.pid for owner in self.owners.values()})
        named = ", ".join(map(str, pids[:_MOST_NAMED])) + (", ..." if len(pids) > _MOST_NAMED else "")
        swept = f", {self.being_swept} of the dead are still in use" if self._swept else ""
        return f"all {len(self.bells)} lanes are taken by pids {named or 'that are dead'}{swept}; raise `workers`"

    def busy_owners(self) -> set[Frontend]:
        """Owners of lanes in which something is outstanding.

        Once the segment is closing, who is not among them never will be again: a submission that began before has a
        slot that is not FREE, one that begins later is refused.
        """
        words, slots = self._steward.segment.tables.word, self._steward.segment.geometry.slots
        return {
            owner
            for lane, owner in self.owners.items()
            if any(state_of(words[index]) != FREE for index in range(lane * slots, (lane + 1) * slots))
        }
