"""One deployment version as one frontend holds it: the mapped segment, its lane, the bells, the instances' pidfds.

Lives from the supervisor's `segment` message until nothing is outstanding after its `close`. The instances' names are
touched in the reactor's thread only; submitting is possible from every thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from engine.client.census import Census
from engine.client.ticket import Flight, Item
from engine.client.turn_bell import TurnBell
from engine.clock import now_ns
from engine.core.carrying import Part
from engine.errors import EngineClosed
from engine.messages import read_memfd
from engine.shm.bell import Bell
from engine.shm.board import LaneBoard, part_of
from engine.shm.lane import LaneOwner, LaneStatistics, SlotReply, SlotRequest, count_states
from engine.shm.lease import Lease
from engine.shm.segment import Segment
from engine.spec import ModelDescription


class Counted(NamedTuple):
    """The counters of one version, over all processes."""

    part: Part
    instances: list[dict[str, int]]  # rows of those that serve


class Attachment:
    """One lane of one version."""

    def __init__(self, *, deployment_id: str, version: int, lane: int, fds: Sequence[int]) -> None:
        """Owns `fds` (segment, doorbell, reply bell, description) from here on, even if it raises ProtocolError."""
        self.deployment_id = deployment_id
        self.version = version
        self.lane = lane
        self.doorbell, self.reply_bell = TurnBell(fds[1]), Bell(fds[2])
        try:
            self.description = ModelDescription.from_bytes(read_memfd(fds[3]))
            self.segment = Segment.attach(fds[0])
        except BaseException:
            self.doorbell.close()
            self.reply_bell.close()
            raise
        finally:
            os.close(fds[3])
        self._lease = Lease(self.segment.fd)
        self._owner = LaneOwner(self.segment, lane, self._lease, self.doorbell, self.reply_bell)
        self._board = LaneBoard(self.segment, lane)
        self.census = Census(self.segment)
        self.slots = self.segment.geometry.slots
        self.closing = False  # takes no new work; set by whoever sees it first
        self.told_closing = False  # the supervisor said so, and waits to be told that nothing is left
        self.names: dict[int, int] = {}  # living instance -> its pidfd
        self._dead: set[int] = set()
        self._users_lock = threading.Lock()
        self._users = 0  # threads between `_enter` and `_leave`; the segment is unmapped only when there is none
        self._unused = threading.Event()
        self._closed = False
        self._counts = True  # whether this process still counts here; under the same lock

    # --- work, from every thread ------------------------------------------------------------------------------------

    def fits(self, payload_bytes: int) -> bool:
        """Whether an item of this size can be sent here."""
        return payload_bytes <= self.segment.geometry.payload_bytes

    def try_submit(self, flight: Flight, item: Item) -> bool:
        """Puts `item` into a slot; False when all are taken. Raises EngineClosed when this version closes."""
        ticket = flight.ticket
        request = SlotRequest(
            payload=item.payload,
            int16=item.payload.itemsize == 2,
            gain=item.gain,
            request_id=ticket.request_id,
            caller_hash=ticket.caller_hash,
            level=ticket.level,
            arrival_ns=ticket.turn_ns,
            deadline_ns=ticket.deadline_ns,
        )
        if not self._enter():
            raise EngineClosed
        try:
            slot = self._owner.try_submit(request, flight)
        finally:
            self._leave()
        if slot is None:
            return False
        flight.generation = slot.generation
        flight.slot = slot.index  # the last: `abandon` looks here first
        return True

    def abandon(self, flight: Flight) -> None:
        """Nobody waits for `flight` any more; its slot comes home by itself."""
        if flight.slot >= 0 and self._enter():
            try:
                self._owner.abandon_slot(flight.slot, flight.generation)
            finally:
                self._leave()

    def tell_waiting(self, count: int) -> None:
        """Publishes how many requests wait in this process for a slot."""
        if self._enter():
            try:
                self._owner.waiting_gauge = count
            finally:
                self._leave()

    def waiting(self, now_ns: int, bound: int) -> int | None:
        """Requests that wait on the whole machine, exact where they reach `bound`; None when this version is gone."""
        found = self.census.fresh(now_ns, bound)
        if found is not None and found < bound:
            return found  # nearly always: without a look at the segment
        if not self._enter():
            return None
        try:
            found = self.census.waiting(now_ns, bound)
            return found if found < bound else self.census.count_anew(now_ns)
        finally:
            self._leave()

    def count(self, *counts: tuple[str, int]) -> bool:
        """Adds to counters of this lane; False when this version is gone already."""
        with self._users_lock:
            if self._counts:
                self._board.add_all(counts)
            return self._counts

    def count_sums(self, sums: Mapping[str, int]) -> bool:
        """The same for what was summed before, with its buckets."""
        with self._users_lock:
            if self._counts:
                self._board.add_sums(sums)
            return self._counts

    def stop_counting(self) -> None:
        """This process counts elsewhere from now on."""
        with self._users_lock:
            self._counts = False

    def _enter(self) -> bool:
        """Keeps the segment mapped until `_leave`; False when it is gone."""
        with self._users_lock:
            self._users += not self._closed
            return not self._closed

    def _leave(self) -> None:
        with self._users_lock:
            self._users -= 1
            if self._closed and not self._users:
                self._unused.set()

    def counted(self) -> Counted | None:
        """What all processes have counted in this version; None when it is gone."""
        if not self._enter():
            return None
        try:
            part, rows = part_of(self.segment)
            return Counted(part, [row for row in rows if row["go"]])
        finally:
            self._leave()

    def standing(self) -> tuple[dict[str, int], int] | None:
        """Slots of all lanes by state, and the requests that wait for an instance; None when this version is gone."""
        if not self._enter():
            return None
        try:
            slots = asdict(count_states(self.segment.tables.word.tolist()))
            return slots, self.census.count_anew(now_ns())
        finally:
            self._leave()

    @property
    def outstanding(self) -> int:
        """Slots that are not FREE."""
        return self._owner.outstanding

    def statistics(self) -> LaneStatistics:
        return self._owner.statistics()

    # --- events, in the reactor's thread ----------------------------------------------------------------------------

    def harvest(self) -> list[SlotReply]:
        """Replies since the last look, and another try for withdrawals that found the lease busy."""
        replies = self._owner.harvest()
        self._owner.retry_withdrawals()
        return replies

    def refuse_unserved(self) -> list[SlotReply]:
        """When this version closes and its last instance is gone: everything that nobody will take."""
        return self._owner.refuse_ready() if self.told_closing and not self.names and self.outstanding else []

    def instance_up(self, name: int, pidfd: int) -> bool:
        """Owns `pidfd` from here on; False (and closed) when the name is known already."""
        if name in self.names or name in self._dead:
            os.close(pidfd)
            return False
        self.names[name] = pidfd
        return True

    def instance_down(self, name: int) -> list[SlotReply]:
        """`name` is dead: its pidfd said so, or it was not in the list of the living."""
        pidfd = self.names.pop(name, None)
        if pidfd is not None:
            os.close(pidfd)
        self._dead.add(name)
        return self._owner.instance_died(name, alive=len(self.names))

    def missing_names(self, counter: int, living: Sequence[int]) -> Iterator[int]:
        """Names up to `counter` that are not among the living and were never known here: dead without notice.

        Those that are known are left to their pidfds.
        """
        known = self.names.keys() | self._dead | set(living)
        return (name for name in range(1, counter + 1) if name not in known)

    def pidfd_of(self, name: int) -> int:
        return self.names[name]

    # --- for the supervisor's eyes ----------------------------------------------------------------------------------

    def hold(self) -> tuple[dict[str, Any], list[int]]:
        """What a `hello` says of this attachment, and the descriptors that go with it."""
        fields = {"deployment": self.deployment_id, "version": self.version, "lane": self.lane}
        return fields, [self.segment.fd, self.doorbell.fileno(), self.reply_bell.fileno()]

    @property
    def droppable(self) -> bool:
        """Whether this version closes and nothing of ours is left in it."""
        return self.told_closing and not self._users and not self.outstanding

    def let_go_in_child(self) -> None:
        """In a forked child: the lane is the parent's, and not a word of it is touched."""
        self._users_lock = threading.Lock()
        self._users = 0
        self._closed = self.closing = True
        self._counts = False
        self._unmap()

    def close(self) -> None:
        """Unmaps and closes everything; what is outstanding then belongs to the supervisor. Idempotent."""
        with self._users_lock:
            if self._closed:
                return
            self._closed, self._counts = True, False
            in_use = self._users > 0
        if in_use:
            self._unused.wait()
        self._owner.waiting_gauge = 0
        self._unmap()

    def _unmap(self) -> None:
        for pidfd in self.names.values():
            os.close(pidfd)
        self.names.clear()
        self.census.close()
        self._owner.close()
        self._lease.close()
        self.doorbell.close()
        self.reply_bell.close()
        self.segment.close()
