"""One version of a deployment: its pool, its data plane, and the orders of the protocol between them.

STARTING -> the first instance that is ready -> SERVING -> `close` -> CLOSING -> nobody left -> GONE. A version never
comes back; a swap is another version beside this one.
"""

from __future__ import annotations

import functools
import logging
import os
from collections import deque
from typing import Any, Protocol

from engine.clock import now_ns
from engine.core.lifecycle import VersionEvent, VersionState
from engine.crash_points import reach
from engine.errors import EngineError, ProtocolError
from engine.launch.identity import Identity
from engine.messages import read_memfd
from engine.shm.bell import Bell
from engine.shm.segment import Segment
from engine.spec import ModelDescription
from engine.supervisor.context import Context
from engine.supervisor.frontend import Frontend
from engine.supervisor.instance import Instance
from engine.supervisor.loop import Timer
from engine.supervisor.parcel import Parcel
from engine.supervisor.peer import Peer
from engine.supervisor.plan import Plan, what_changed
from engine.supervisor.plane import Plane, PlaneHooks
from engine.supervisor.pool import Pool

_BELT_S = 0.25

_log = logging.getLogger(__name__)


class VersionOwner(Protocol):
    """Whom a version tells what became of it."""

    def version_opened(self, version: Version) -> None: ...
    def version_serves(self, version: Version) -> None: ...
    def version_failed(self, version: Version, reason: str) -> None: ...
    def version_changed(self, version: Version) -> None: ...
    def version_outdated(self, version: Version, reason: str) -> None: ...
    def version_empties(self, version: Version) -> None: ...
    def version_gone(self, version: Version) -> None: ...


class Version:
    """`state` changes through `_advance` alone; `plane` is set once, by the first instance that has loaded."""

    def __init__(self, context: Context, plan: Plan, owner: VersionOwner) -> None:
        self._context = context
        self._owner = owner
        self.plan = plan
        self.state = VersionState.STARTING
        self.plane: Plane | None = None
        self.pool = Pool(context.loop, context.options, self, context.keys)
        self.began_at_ns = now_ns()
        self._queue: deque[Frontend] = deque()  # frontends that wait for a lane
        self._told_to_wait: set[Frontend] = set()  # those of them that know why
        self._knows: dict[Frontend, set[int]] = {}  # names that each has been sent
        self._unattached: list[Instance] = []
        self._busy: set[Frontend] = set()  # CLOSING: who has something outstanding, as far as is known
        self._deadline: Timer | None = None
        self._belt: Timer | None = None
        self._told_to_close = False
        self._dismissed = False

    # --- start ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Fills the pool."""
        self._context.rebalance()

    def adopt(self, segment: Segment, doorbell: Bell, description: ModelDescription) -> None:
        """Takes over what a predecessor made. Owners of lanes and living instances come from the segment itself."""
        self.state = VersionState.SERVING
        hooks = PlaneHooks(self._is_dead_name, self._serve_queue)
        plane = Plane(
            self._context.loop,
            self._context.options,
            hooks,
            segment=segment,
            doorbell=doorbell,
            description=description,
        )
        self.plane = plane
        for row in plane.steward.rows():
            identity = Identity(row.pid, row.start_ticks)
            pidfd = identity.open_pidfd()
            if pidfd is None:
                plane.steward.clear_row(row.name)
                continue
            device = row.device or self.plan.options.devices[0]
            instance = self.pool.adopt(identity, pidfd, row.name, seat=row.seat, device=device)
            if not row.go:
                self.pool.end(instance)  # no frontend may know of it, and it has taken nothing
        plane.lanes.adopt(self._context.stand_in)
        for frontend in set(plane.lanes.owners.values()):
            self._knows[frontend] = set()
        doorbell.ring()
        self.pool_changed()

    # --- frontends --------------------------------------------------------------------------------------------------

    def offer(self, frontend: Frontend) -> None:
        """Gives `frontend` a lane, now or when there is one."""
        if self.plane is None or self.state not in (VersionState.STARTING, VersionState.SERVING):
            return
        if self.has_lane(frontend):
            return
        if frontend not in self._queue:
            self._queue.append(frontend)
        self._serve_queue()

    def has_lane(self, frontend: Frontend) -> bool:
        return self.plane is not None and self.plane.lanes.lane_of(frontend) is not None

    @property
    def waiting_frontends(self) -> list[int]:
        """Pids of the frontends that wait for a lane, in order."""
        return [frontend.identity.pid for frontend in self._queue]

    def claim(self, frontend: Frontend, lane: int) -> Frontend:
        """A frontend that has come back. Returns who stood for it. Raises ProtocolError."""
        plane = self._known_plane()
        before = plane.lanes.claim(lane, frontend)
        self._knows.pop(before, None)
        self._send_living(frontend)
        if before in self._busy:
            self._busy.discard(before)
            self._busy.add(frontend)
        if self.state is VersionState.CLOSING:
            self._send_close(frontend)
        return before

    def frontend_lost(self, frontend: Frontend) -> None:
        """Its connection is gone; it may come back for its lane, but it is not waiting for one any more."""
        self._told_to_wait.discard(frontend)
        if frontend in self._queue:
            self._queue.remove(frontend)

    def frontend_died(self, frontend: Frontend) -> None:
        """Its pidfd said so."""
        self.frontend_lost(frontend)
        self._knows.pop(frontend, None)
        if self.plane is not None:
            self.plane.lanes.frontend_died(frontend)
        self.frontend_idle(frontend)

    def frontend_idle(self, frontend: Frontend) -> None:
        """Nothing of it is outstanding here, and nothing will be."""
        self._busy.discard(frontend)
        self._close_further()

    def frontend_left(self, frontend: Frontend) -> None:
        """It lives on, but has let go of its lane."""
        self.frontend_lost(frontend)
        self._knows.pop(frontend, None)
        if self.plane is not None:
            self.plane.lanes.give_back(frontend)
        self.frontend_idle(frontend)

    def _serve_queue(self) -> None:
        """Lanes for those who wait, in order."""
        plane = self.plane
        while plane is not None and self._queue and self.state is not VersionState.CLOSING:
            frontend = self._queue[0]
            lane = plane.lanes.assign(frontend)
            if lane is None:
                self._tell_waiting(plane)
                return
            self._queue.popleft()
            self._told_to_wait.discard(frontend)
            reach("lane.assigned")
            if not frontend.send({"type": "segment", **self._label(), "lane": lane}, plane.lane_fds(lane)):
                plane.lanes.take_back(frontend)  # it was not told, and comes anew
                continue
            self._send_living(frontend)
            self._owner.version_changed(self)

    def _tell_waiting(self, plane: Plane) -> None:
        """Whoever is one too many is told so at once, and once. Lanes that are there but cannot be had yet soon can."""
        reason = plane.lanes.refusal()
        if not reason:
            return
        for frontend in self._queue:
            if frontend not in self._told_to_wait:
                self._told_to_wait.add(frontend)
                _log.warning("pid %d waits for a lane of %s: %s", frontend.identity.pid, self.plan.deployment, reason)
                frontend.send({"type": "waiting", **self._label(), "reason": reason})

    def _send_living(self, frontend: Frontend) -> None:
        """All names that live: whoever is not among them and not above the counter is dead."""
        plane = self._known_plane()
        named = self.pool.named()
        self._knows[frontend] = {each.name for each in named}
        message = {"type": "live", **self._label(), "counter": plane.segment.name_counter}
        frontend.send({**message, "names": [each.name for each in named]}, [each.pidfd for each in named])

    def _send_close(self, frontend: Frontend) -> None:
        frontend.send({"type": "close", **self._label()})

    def _label(self) -> dict[str, Any]:
        return {"deployment": self.plan.deployment, "version": self.plan.number}

    # --- instances --------------------------------------------------------------------------------------------------

    def instance_connected(self, instance: Instance) -> None:
        options = self._context.options
        fds = []
        if self.plan.pickle_path is not None:
            try:
                fds.append(self._context.open_factory(self.plan.pickle_path))  # each its own offset
            except FileNotFoundError as error:
                self.pool.refuse(instance, f"the factory of this deployment was removed ({error}): deploy it again")
                return
        message = {
            "type": "load",
            **self._label(),
            "spec": self.plan.spec,
            "device": instance.device,
            "threads": options.threads,
            "max_batch_size": self.plan.options.max_batch_size,
            "warmup_requests": self.plan.options.warmup_requests,
            "aging_ms": options.aging_ms,
        }
        try:
            instance.tell(message, fds)
        finally:
            for fd in fds:
                os.close(fd)

    def instance_loaded(self, instance: Instance, parcel: Parcel) -> None:
        description = ModelDescription.from_bytes(read_memfd(parcel.first_fd()))
        if self.plane is None and not self._opened(description):
            return
        plane = self._known_plane()
        if plane.fits(description):
            if instance not in self._unattached and not instance.name:
                self._unattached.append(instance)
            self._attach_all()
        else:
            self._turn_away(instance, what_changed(self.plan, plane.description, description))

    def _turn_away(self, instance: Instance, reason: str) -> None:
        """The version is what was loaded first; whoever loads something else does not join.

        With nobody left who has loaded the same, and no way to get it back, another version has to go on.
        """
        self.pool.turn_away(instance, reason)
        left = [each for seat in self.pool.seats if (each := seat.instance) is not None and each is not instance]
        if self.state is VersionState.SERVING and not any(each.name or each in self._unattached for each in left):
            self._owner.version_outdated(self, reason)
        self._owner.version_changed(self)

    def instance_ready(self, instance: Instance) -> None:
        """Its pidfd to every frontend, then go, then take: nobody can see its name in a slot before its pidfd."""
        plane = self._known_plane()
        for frontend, known in self._knows.items():
            if instance.name not in known:
                frontend.send({"type": "instance_up", **self._label(), "name": instance.name}, [instance.pidfd])
                known.add(instance.name)
        self._context.persist()
        reach("ready.told")
        plane.steward.mark_go(instance.name)
        reach("ready.go")
        instance.tell({"type": "take"})
        if self.state is VersionState.STARTING:
            self._advance(VersionEvent.FIRST_READY)
        if self.state is VersionState.SERVING:
            self._owner.version_serves(self)
        self._owner.version_changed(self)

    def instance_died(self, instance: Instance) -> None:
        if instance in self._unattached:
            self._unattached.remove(instance)
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

    def pool_changed(self) -> None:
        if self.plane is not None and not self.plane.complete and not self.pool.named():
            self.plane.fill_bells(absent_too=self._context.everybody_back())
        self._attach_all()
        self._serve_queue()
        if self.state is VersionState.STARTING and self.pool.hopeless:
            self.fail(self.pool.reason)
        self._context.rebalance()
        self._owner.version_changed(self)
        self._close_further()

    def _opened(self, description: ModelDescription) -> bool:
        """Makes the plane; a version that cannot have one fails."""
        hooks = PlaneHooks(self._is_dead_name, self._serve_queue)
        try:
            devices = self.plan.options.devices
            self.plane = Plane.create(self._context.loop, self._context.options, hooks, description, devices)
        except EngineError as error:
            self.fail(str(error))
            return False
        self._owner.version_opened(self)
        return True

    def _attach_all(self) -> None:
        """Attaches those who have loaded, once every bell is known."""
        plane = self.plane
        while plane is not None and plane.complete and self._unattached:
            instance = self._unattached[0]
            if not instance.name:
                who = instance.identity
                instance.name = plane.steward.new_name(
                    who.pid, who.start_ticks, seat=instance.seat, device=instance.device
                )
            reach("attach.named")
            record = self._context.record_json(self.plan, plane.description)
            attach = {"type": "attach", **self._label(), "name": instance.name, "record": record}
            instance.tell(attach, plane.attach_fds())
            self._unattached.remove(instance)

    def offer_bells(self, fds: list[int], first_lane: int = 0) -> None:
        """Bells that a peer of a predecessor has kept. Owns `fds`."""
        self._known_plane().offer_bells(fds, first_lane)
        self._attach_all()
        self._serve_queue()

    def reconnect(self, name: int, identity: Identity, peer: Peer) -> bool:
        """An instance of a predecessor has come back; False if no living instance has that name."""
        for instance in self.pool.named():
            if instance.name == name and instance.identity == identity:
                self.pool.connect(instance, peer)
                return True
        return False

    def _is_dead_name(self, name: int) -> bool:
        return all(each.name != name for each in self.pool.instances())

    def _known_plane(self) -> Plane:
        if self.plane is None:
            raise ProtocolError(f"version {self.plan.number} of {self.plan.deployment} has no segment yet")
        return self.plane

    # --- end --------------------------------------------------------------------------------------------------------

    def fail(self, reason: str) -> None:
        """It cannot serve: closes at once."""
        told = reason.strip().rpartition("\n")[2]  # the traceback above it is logged already
        _log.error("%s version %d failed: %s", self.plan.deployment, self.plan.number, told)
        self.close(drain_s=0.0)
        self._owner.version_failed(self, reason)

    def close(self, *, drain_s: float) -> None:
        """No new work; what is outstanding is answered within `drain_s` seconds or refused. May be called again."""
        if self.state is VersionState.GONE:
            return
        self._advance(VersionEvent.CLOSED)
        self.pool.stop_filling()
        self._queue.clear()
        if self.plane is not None and not self._told_to_close:
            self._told_to_close = True
            self.plane.segment.set_closing()
            reach("close.set")
            self._busy = self.plane.lanes.busy_owners()
            for frontend in self.plane.lanes.owners.values():
                self._send_close(frontend)
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self._context.loop.call_after(drain_s, self._dismiss)
        self._context.loop.call_after(0.0, self._close_further)

    def _close_further(self) -> None:
        if self.state is not VersionState.CLOSING:
            return
        if self.plane is not None and self._busy:
            self._busy &= self.plane.lanes.busy_owners()
        if not self._busy or self.pool.ready == 0:
            self._dismiss()
        if self._dismissed and next(self.pool.instances(), None) is None:
            # While peers of a predecessor may still come, one that has this version would bring it back, and what an
            # older one has counted cannot be told from what this one carries.
            if not self._busy and self._context.everybody_back():
                self._emptied()
            elif self._belt is None:
                self._belt = self._context.loop.call_after(_BELT_S, self._belt_look)

    @property
    def held_by(self) -> list[int]:
        """Pids of frontends that still have something in it although nobody is left who computes."""
        is_over = self._dismissed and next(self.pool.instances(), None) is None
        return [frontend.identity.pid for frontend in self._busy] if is_over else []

    def _belt_look(self) -> None:
        """A frontend that is not connected cannot say that it has refused what was left; its slots can."""
        self._belt = None
        self._close_further()

    def _dismiss(self) -> None:
        """Everybody leaves; what is then left is refused by its frontend, which learns of the deaths by pidfd."""
        if not self._dismissed:
            self._dismissed = True
            self.pool.empty()
            self._context.loop.call_after(0.0, self._close_further)

    def _emptied(self) -> None:
        self._advance(VersionEvent.EMPTIED)
        if self._deadline is not None:
            self._deadline.cancel()
        if self.plane is not None:
            self._context.loop.attempt(self._put_away)
        self._context.loop.attempt(functools.partial(self._owner.version_gone, self))

    def _put_away(self) -> None:
        if self.plane is None:
            return
        self._owner.version_empties(self)
        plane, self.plane = self.plane, None
        try:
            counts = plane.steward.counts()
            if counts.free != counts.total:
                _log.error("%s version %d ends with %s", self.plan.deployment, self.plan.number, counts)
        finally:
            plane.close()

    def forget(self) -> None:
        """It could not be adopted: as if it had never been tried, since whoever offers it comes again."""
        self.pool.forget()
        plane, self.plane = self.plane, None
        if plane is not None:
            for frontend in set(plane.lanes.owners.values()):
                self._context.frontends.drop(frontend)
            plane.close()

    def abandon(self) -> None:
        """The supervisor ends: whatever is left is left to itself."""
        self.pool.kill()
        if self.plane is not None:
            self.plane.close()
            self.plane = None

    def _advance(self, event: VersionEvent) -> None:
        self.state = self.state.after(event)
