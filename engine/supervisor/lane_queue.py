"""Frontends that wait for a lane of one version, first come, first served."""

from __future__ import annotations

import functools
import logging
from collections import deque
from collections.abc import Callable

from engine.crash_points import reach
from engine.supervisor.frontend import Frontend
from engine.supervisor.loop import Loop
from engine.supervisor.plan import Plan
from engine.supervisor.plane import Plane

_log = logging.getLogger(__name__)


class LaneQueue:
    """Hands out lanes for as long as it is open, which it is from `open` to `close`; the only one that does."""

    def __init__(self, loop: Loop, plan: Plan, on_given: Callable[[Frontend], None]) -> None:
        """`on_given`: a frontend has a lane and has been sent it. Repeated by the loop should it fail."""
        self._loop = loop
        self._plan = plan
        self._on_given = on_given
        self._plane: Plane | None = None
        self._waiting: deque[Frontend] = deque()
        self._told: set[Frontend] = set()  # those of them that know why they wait

    @property
    def pids(self) -> list[int]:
        """Of those that wait, in order."""
        return [frontend.identity.pid for frontend in self._waiting]

    def open(self, plane: Plane) -> None:
        """From here on lanes of `plane` are handed out."""
        self._plane = plane

    def add(self, frontend: Frontend) -> None:
        """A lane for `frontend`, unless it has one: now, or when there is one. Nothing happens while it is not open."""
        if self._plane is None or self._plane.lanes.lane_of(frontend) is not None:
            return
        if frontend not in self._waiting:
            self._waiting.append(frontend)
        self.serve()

    def drop(self, frontend: Frontend) -> None:
        """It does not wait any more. Idempotent."""
        self._told.discard(frontend)
        if frontend in self._waiting:
            self._waiting.remove(frontend)

    def close(self) -> None:
        """Nobody is given a lane any more."""
        self._plane = None
        self._waiting.clear()
        self._told.clear()

    def serve(self) -> None:
        """Gives away what is free: whenever a lane was taken back, or its bell became known."""
        while self._plane is not None and self._waiting:
            frontend = self._waiting[0]
            lane = self._plane.lanes.assign(frontend)
            if lane is None:
                self._tell_waiting(self._plane)
                return
            self.drop(frontend)
            reach("lane.assigned")
            message = {"type": "segment", **self._plan.label, "lane": lane}
            if frontend.send(message, self._plane.lane_fds(lane)):
                self._loop.attempt(functools.partial(self._on_given, frontend))
            else:
                self._plane.lanes.take_back(frontend)  # it was not told, and comes anew

    def _tell_waiting(self, plane: Plane) -> None:
        """Whoever is one too many is told so at once, and once. Lanes that are there but cannot be had yet soon can."""
        reason = plane.lanes.refusal()
        if not reason:
            return
        for frontend in list(self._waiting):  # who is lost while it is told waits no more
            if frontend not in self._told:
                _log.warning("pid %d waits for a lane of %s: %s", frontend.identity.pid, self._plan.deployment, reason)
                frontend.send({"type": "waiting", **self._plan.label, "reason": reason})
                self._told.add(frontend)
