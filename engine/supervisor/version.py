"""One version of a deployment, in whatever state: what it is made of, and what it does in all of them.

A version is a `ServingVersion` from its plan to the moment at which it shall close, and a `ClosingVersion` from there
to its end. It never comes back; a swap is another version beside this one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from engine.core.lifecycle import VersionEvent, VersionState
from engine.errors import ProtocolError
from engine.launch.identity import Identity
from engine.supervisor.announcements import Announcements
from engine.supervisor.context import Context
from engine.supervisor.frontend import Frontend
from engine.supervisor.instance import Instance
from engine.supervisor.peer import Peer
from engine.supervisor.plan import Plan
from engine.supervisor.plane import Plane
from engine.supervisor.pool import Pool


@dataclass(frozen=True, slots=True)
class Estate:
    """What a version has, and leaves to the one that it becomes."""

    plan: Plan
    pool: Pool
    announcements: Announcements
    plane: Plane | None


class Version(ABC):
    """`state` changes through `_advance` alone. `plane` is there from the first load until everybody has let go."""

    def __init__(self, context: Context, estate: Estate, state: VersionState) -> None:
        self.plan = estate.plan
        self.pool = estate.pool
        self.plane = estate.plane
        self.state = state
        self._context = context
        self._announcements = estate.announcements

    # --- frontends --------------------------------------------------------------------------------------------------

    @property
    def waiting_pids(self) -> list[int]:
        """Pids of the frontends that wait for a lane, in order."""
        return []

    def has_lane(self, frontend: Frontend) -> bool:
        return self.plane is not None and self.plane.lanes.lane_of(frontend) is not None

    def offer(self, frontend: Frontend) -> None:
        """Gives `frontend` a lane, now or when there is one, if this version gives any."""

    def claim(self, frontend: Frontend, lane: int) -> Frontend:
        """A frontend that has come back. Returns who stood for it. Raises ProtocolError."""
        before = self._known_plane().lanes.claim(lane, frontend)
        self._announcements.forget(before)
        self._send_living(frontend)
        return before

    def frontend_lost(self, frontend: Frontend) -> None:
        """Its connection is gone; it may come back for its lane."""

    def frontend_died(self, frontend: Frontend) -> None:
        """Its pidfd said so."""
        self._announcements.forget(frontend)
        if self.plane is not None:
            self.plane.lanes.frontend_died(frontend)

    def frontend_left(self, frontend: Frontend) -> None:
        """It lives on, but has let go of its lane."""
        self._announcements.forget(frontend)
        if self.plane is not None:
            self.plane.lanes.give_back(frontend)

    def frontend_idle(self, frontend: Frontend) -> None:
        """Nothing of it is outstanding here, and nothing will be."""

    def _send_living(self, frontend: Frontend) -> None:
        counter = self._known_plane().segment.name_counter
        self._announcements.send_living(frontend, self.pool.named(), counter)

    # --- instances: what the pool asks and tells --------------------------------------------------------------------

    @abstractmethod
    def instance_connected(self, instance: Instance) -> None:
        """It can be told what to load."""

    @abstractmethod
    def instance_loaded(self, instance: Instance, description: bytes) -> None:
        """It has its model."""

    @abstractmethod
    def instance_ready(self, instance: Instance) -> None:
        """Its model computes."""

    @abstractmethod
    def pool_changed(self) -> None:
        """Somebody died, or there is other news for whoever waits for seats."""

    def instance_died(self, instance: Instance) -> None:
        """Its pidfd said so, and it is no longer in the pool."""
        plane = self.plane
        if plane is None:
            return
        if instance.name:
            plane.steward.clear_row(instance.name)
        plane.doorbell.ring()  # the dead may have drained it and taken nothing
        plane.lanes.look_again()

    def latest_deadline_ns(self, instance: Instance, *, arrived_by_ns: int) -> int | None:
        """Until when somebody waits for what it has in hand; None if nobody does."""
        if self.plane is None or not instance.name:
            return None
        return self.plane.steward.latest_deadline_ns(instance.name, arrived_by_ns=arrived_by_ns)

    def death_ordered(self, instance: Instance) -> None:
        """It is about to be killed by us."""
        if self.plane is not None and instance.name:
            self.plane.steward.mark_ordered(instance.name)

    def reconnect(self, name: int, identity: Identity, peer: Peer) -> bool:
        """An instance of a predecessor has come back; False if no living instance has that name."""
        for instance in self.pool.named():
            if instance.name == name and instance.identity == identity:
                self.pool.connect(instance, peer)
                return True
        return False

    # --- data plane -------------------------------------------------------------------------------------------------

    def offer_bells(self, fds: list[int], first_lane: int = 0) -> None:
        """Bells that a peer of a predecessor has kept. Owns `fds`."""
        self._known_plane().offer_bells(fds, first_lane)

    def _known_plane(self) -> Plane:
        if self.plane is None:
            raise ProtocolError(f"version {self.plan.number} of {self.plan.deployment} has no segment yet")
        return self.plane

    # --- end --------------------------------------------------------------------------------------------------------

    def abandon(self) -> None:
        """The supervisor ends: whatever is left is left to itself."""
        self.pool.kill()
        plane, self.plane = self.plane, None
        if plane is not None:
            plane.close()

    def _advance(self, event: VersionEvent) -> None:
        self.state = self.state.after(event)
