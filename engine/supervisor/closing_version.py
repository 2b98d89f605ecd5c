"""A version that closes: its frontends finish or are refused, its instances leave, and then nothing of it is left.

RETIRED -> `close` tells everybody -> DRAINING -> nothing outstanding, or time is up -> DISMISSED -> the last death ->
VACANT -> every frontend has let go -> GONE. Each step is taken by `look`, whenever something has happened that it may
have been waiting for, and decided by `engine.core.closing`.
"""

from __future__ import annotations

import functools
import logging
from typing import Protocol

from engine.clock import Deadline
from engine.core.closing import ClosingView, closing_event
from engine.core.lifecycle import VersionEvent, VersionState
from engine.crash_points import reach
from engine.supervisor.context import Context
from engine.supervisor.frontend import Frontend
from engine.supervisor.instance import Instance
from engine.supervisor.loop import Timer
from engine.supervisor.version import Estate, Version

_BELT_S = 0.25

_log = logging.getLogger(__name__)


class ClosingOwner(Protocol):
    """Whom a version that closes tells what became of it."""

    def version_changed(self, version: Version) -> None: ...
    def version_empties(self, version: ClosingVersion) -> None: ...
    def version_gone(self, version: ClosingVersion) -> None: ...


class ClosingVersion(Version):
    """Has what a `ServingVersion` left when it retired. Nobody is told of anything before `close`."""

    def __init__(self, context: Context, estate: Estate, owner: ClosingOwner) -> None:
        super().__init__(context, estate, VersionState.RETIRED)
        self.pool.owner = self
        self._owner = owner
        self._holding: set[Frontend] = set()  # who has something outstanding, as far as is known
        self._deadline = Deadline.after_s(0.0)
        self._timer: Timer | None = None  # looks at the deadline
        self._belt: Timer | None = None

    def close(self, *, drain_s: float) -> None:
        """No new work; what is outstanding is answered within `drain_s` seconds or refused. May be called again."""
        if self.state is VersionState.RETIRED:
            self.pool.stop_filling()
            self._announce()
            self._advance(VersionEvent.ANNOUNCED)
        self._deadline = Deadline.after_s(drain_s)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._context.loop.call_after(drain_s, self.look)
        self._context.loop.call_after(0.0, self.look)

    def _announce(self) -> None:
        plane = self.plane
        if plane is None:
            return
        plane.segment.set_closing()
        reach("close.set")
        self._holding = plane.lanes.busy_owners()
        for frontend in plane.lanes.owners.values():
            self._send_close(frontend)

    def look(self) -> None:
        """Goes as far as it can."""
        if self.plane is not None and self._holding:
            self._holding &= self.plane.lanes.busy_owners()
        while (event := closing_event(self.state, self._view())) is not None:
            if event is VersionEvent.DRAINED:
                self._dismiss()
            elif event is VersionEvent.RELEASED:
                self._release()
            else:
                self._advance(event)
        if self.state is VersionState.VACANT and self._belt is None:
            self._belt = self._context.loop.call_after(_BELT_S, self._belt_look)

    def _view(self) -> ClosingView:
        return ClosingView(
            holding=len(self._holding),
            working=self.pool.seats.working,
            living=sum(1 for _ in self.pool.instances()),
            time_is_up=self._deadline.expired,
            all_back=self._context.everybody_back(),
        )

    def _belt_look(self) -> None:
        """A frontend that is not connected cannot say that it has refused what was left; its slots can."""
        self._belt = None
        self.look()

    def _dismiss(self) -> None:
        """Everybody leaves; what is then left is refused by its frontend, which learns of the deaths by pidfd."""
        self.pool.empty()
        self._advance(VersionEvent.DRAINED)

    def _release(self) -> None:
        self._advance(VersionEvent.RELEASED)
        if self._timer is not None:
            self._timer.cancel()
        self._context.loop.attempt(self._put_away)
        self._context.loop.attempt(functools.partial(self._owner.version_gone, self))

    def _put_away(self) -> None:
        if self.plane is None:
            return
        self._owner.version_empties(self)
        plane, self.plane = self.plane, None
        absent = {each for each in plane.lanes.owners.values() if not each.connected}
        try:
            counts = plane.steward.counts()
            if counts.free != counts.total:
                _log.error("%s version %d ends with %s", self.plan.deployment, self.plan.number, counts)
        finally:
            plane.close()
            for frontend in absent:  # let go of it unseen, perhaps, and does not come back for it
                self._context.loop.attempt(functools.partial(self._context.drop_if_unused, frontend))

    # --- frontends --------------------------------------------------------------------------------------------------

    @property
    def held_by(self) -> list[int]:
        """Pids of frontends that still have something in it although nobody is left who computes."""
        is_vacant = self.state is VersionState.VACANT
        return [frontend.identity.pid for frontend in self._holding] if is_vacant else []

    def offer(self, frontend: Frontend) -> None:
        """It learns that it has to let go, if it has a lane here."""
        if self.has_lane(frontend):
            self._send_close(frontend)

    def claim(self, frontend: Frontend, lane: int) -> Frontend:
        """It has come back. Returns who stood for it. Raises ProtocolError."""
        before = super().claim(frontend, lane)
        if before in self._holding:
            self._holding.discard(before)
            self._holding.add(frontend)
        return before

    def frontend_idle(self, frontend: Frontend) -> None:
        """Nothing of it is outstanding here, and nothing will be."""
        self._holding.discard(frontend)
        self.look()

    def frontend_died(self, frontend: Frontend) -> None:
        """Its lane is swept, and it holds nothing."""
        super().frontend_died(frontend)
        self.frontend_idle(frontend)

    def frontend_left(self, frontend: Frontend) -> None:
        """It lives on, and holds nothing."""
        super().frontend_left(frontend)
        self.frontend_idle(frontend)

    def _send_close(self, frontend: Frontend) -> None:
        frontend.send({"type": "close", **self.plan.label})

    # --- instances --------------------------------------------------------------------------------------------------

    def instance_connected(self, instance: Instance) -> None:
        """It comes too late, as it does with all other news of one that has not worked yet."""
        self.pool.end(instance)

    def instance_loaded(self, instance: Instance, description: bytes) -> None:
        """It comes too late."""
        self.pool.end(instance)

    def instance_ready(self, instance: Instance) -> None:
        """It comes too late: no frontend knows its name, so that it must not take."""
        self.pool.end(instance)

    def pool_changed(self) -> None:
        """Somebody died, which leaves room for others, and may have been what this waits for."""
        self._context.rebalance()
        self._owner.version_changed(self)
        self.look()
