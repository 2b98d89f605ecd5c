"""One deployment version as one frontend holds it: the mapped segment, its lane, the bells, the instances' pidfds.

Lives from the supervisor's `segment` message until nothing is outstanding after its `close`. The instances' names are
touched in the reactor's thread only; submitting is possible from every thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any, NamedTuple

from engine.client.census import Census
from engine.client.turn_bell import TurnBell
from engine.clock import now_ns
from engine.core.admission import slot_window
from engine.core.carrying import Part
from engine.messages import read_memfd
from engine.shm.bell import Bell
from engine.shm.board import LaneBoard, part_of
from engine.shm.item import Item
from engine.shm.lane import LaneOwner
from engine.shm.lease import Lease
from engine.shm.records import LaneStatistics
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
        self.doorbell, self.reply_bell = TurnBell(fds[1]), Bell(fds[2])
        with ExitStack() as undo:
            undo.callback(self.doorbell.close)
            undo.callback(self.reply_bell.close)
            try:
                self.description = ModelDescription.from_bytes(read_memfd(fds[3]))
                self.segment = Segment.attach(fds[0])
            finally:
                os.close(fds[3])
            undo.pop_all()
        self._lease = Lease(self.segment.fd)
        self.owner = LaneOwner(self.segment, lane, self._lease, self.doorbell, self.reply_bell)
        self.board = LaneBoard(self.segment, lane)
        self.census = Census(self.segment)
        self.slots = self.segment.geometry.slots
        self.window = slot_window(self.slots)  # slots that one request may hold at once
        self.takes_work = True  # until its closing is seen; changed by `Versions.stop_taking`
        self.recalled = False  # the supervisor's `close` has come: it waits to be told that nothing is left
        self.names: dict[int, int] = {}  # living instance -> its pidfd
        self._dead: set[int] = set()

    # --- work, from every thread ------------------------------------------------------------------------------------

    def waiting(self, now_ns: int, bound: int) -> int | None:
        """Requests that wait on the whole machine, exact where they reach `bound`; None when this version is gone."""
        if not self.owner.enter():
            return None
        try:
            found = self.census.waiting(now_ns, bound)
            return found if found < bound else self.census.count_anew(now_ns)
        finally:
            self.owner.leave()

    def counted(self) -> Counted | None:
        """What all processes have counted in this version; None when it is gone."""
        if not self.owner.enter():
            return None
        try:
            part, rows = part_of(self.segment)
            return Counted(part, [row for row in rows if row["go"]])
        finally:
            self.owner.leave()

    def standing(self) -> tuple[dict[str, int], int] | None:
        """Slots of all lanes by state, and the requests that wait for an instance; None when this version is gone."""
        if not self.owner.enter():
            return None
        try:
            slots = asdict(LaneStatistics.of(self.segment.tables.word.tolist()))
            return slots, self.census.count_anew(now_ns())
        finally:
            self.owner.leave()

    @property
    def outstanding(self) -> int:
        """Slots that are not FREE."""
        return self.owner.outstanding

    def statistics(self) -> LaneStatistics:
        return self.owner.statistics()

    # --- events, in the reactor's thread ----------------------------------------------------------------------------

    def refuse_unserved(self) -> list[Item]:
        """When this version is recalled and its last instance is gone: everything that nobody will take."""
        return self.owner.refuse_ready() if self.recalled and not self.names and self.outstanding else []

    def instance_up(self, name: int, pidfd: int) -> bool:
        """Owns `pidfd` from here on; False (and closed) when the name is known already."""
        if name in self.names or name in self._dead:
            os.close(pidfd)
            return False
        self.names[name] = pidfd
        return True

    def instance_down(self, name: int) -> list[Item]:
        """`name` is dead: its pidfd said so, or it was not in the list of the living."""
        pidfd = self.names.pop(name, None)
        if pidfd is not None:
            os.close(pidfd)
        self._dead.add(name)
        # An instance may live that this process is yet to be told of. It was told before the `close`.
        alive = len(self.names) if self.recalled else max(1, len(self.names))
        return self.owner.instance_died(name, alive=alive)

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
        fields = {"deployment": self.deployment_id, "version": self.version, "lane": self.owner.lane}
        return fields, [self.segment.fd, self.doorbell.fileno(), self.reply_bell.fileno()]

    @property
    def droppable(self) -> bool:
        """Whether this version is recalled and nothing of ours is left in it."""
        return self.recalled and not self.owner.is_busy

    def let_go_in_child(self) -> None:
        """In a forked child: the lane is the parent's, and not a word of it is touched."""
        self.takes_work = False
        self.board.let_go_in_child()
        self.owner.let_go_in_child()
        self._unmap()

    def close(self) -> None:
        """Unmaps and closes everything; what is outstanding then belongs to the supervisor. Idempotent."""
        self.board.close()
        if self.owner.close():
            self._unmap()

    def _unmap(self) -> None:
        for pidfd in self.names.values():
            os.close(pidfd)
        self.names.clear()
        self.census.close()
        self._lease.close()
        self.doorbell.close()
        self.reply_bell.close()
        self.segment.close()
