"""A version that starts and then serves: its seats are filled, its frontends have lanes or wait for one.

STARTING -> the first instance that is ready -> SERVING -> `retire` -> it is a `ClosingVersion` from there on.

An instance comes in by four steps, each an order of ours and an answer of its: `load`, it has loaded; `attach`, under a
name that no frontend knows yet; it has warmed up and is ready; every frontend is sent its pidfd; `take`.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from typing import Protocol

from engine.core.lifecycle import InstanceState, VersionEvent, VersionState
from engine.crash_points import reach
from engine.errors import EngineError
from engine.forms import EAGER
from engine.launch.identity import Identity
from engine.shm.bell import Bell
from engine.shm.segment import Segment
from engine.spec import ModelDescription
from engine.supervisor.announcements import Announcements
from engine.supervisor.context import Context
from engine.supervisor.frontend import Frontend
from engine.supervisor.instance import Instance
from engine.supervisor.lane_queue import LaneQueue
from engine.supervisor.plan import Plan, what_changed
from engine.supervisor.plane import Plane, PlaneHooks
from engine.supervisor.pool import Pool
from engine.supervisor.version import Estate, Version

_log = logging.getLogger(__name__)


class ServingOwner(Protocol):
    """Whom a version that starts or serves tells what became of it."""

    def version_opened(self, version: ServingVersion) -> None: ...
    def version_serves(self, version: ServingVersion) -> None: ...
    def version_failed(self, version: ServingVersion, reason: str) -> None: ...
    def version_outdated(self, version: ServingVersion, reason: str) -> None: ...
    def version_changed(self, version: Version) -> None: ...


class ServingVersion(Version):
    """Once it has retired it has nothing any more, and whatever it is still told means nothing."""

    def __init__(self, context: Context, plan: Plan, owner: ServingOwner) -> None:
        pool = Pool(context.loop, context.options, self, context.keys)
        super().__init__(context, Estate(plan, pool, Announcements(plan), None), VersionState.STARTING)
        self._owner = owner
        self._queue = LaneQueue(context.loop, plan, self._lane_given)
        self._hooks = PlaneHooks(pool.is_dead_name, self._queue.serve)
        self._form_is_deadly = False  # as far as is known; only `instance_died` says so

    # --- start and end ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Fills the pool."""
        self._context.rebalance()

    def adopt(self, segment: Segment, doorbell: Bell, description: ModelDescription) -> None:
        """Takes over what a predecessor made. Owners of lanes and living instances come from the segment itself."""
        self._advance(VersionEvent.FIRST_READY)
        loop, options = self._context.loop, self._context.options
        plane = Plane(loop, options, self._hooks, segment=segment, doorbell=doorbell, description=description)
        self.plane = plane
        self._queue.open(plane)
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
        doorbell.ring()
        self.pool_changed()

    def forget(self) -> None:
        """It could not be adopted: as if it had never been tried, since whoever offers it comes again."""
        self._queue.close()
        self.pool.forget()
        plane, self.plane = self.plane, None
        if plane is not None:
            for frontend in set(plane.lanes.owners.values()):
                self._context.frontends.drop(frontend)
            plane.close()

    def retire(self) -> Estate:
        """Leaves all that it has to the `ClosingVersion` that it becomes."""
        self._queue.close()
        self._advance(VersionEvent.RETIRED)
        plane, self.plane = self.plane, None
        return Estate(self.plan, self.pool, self._announcements, plane)

    def _fail(self, reason: str) -> None:
        """It cannot serve, and is closed at once."""
        told = reason.strip().rpartition("\n")[2]  # the traceback above it is logged already
        _log.error("%s version %d failed: %s", self.plan.deployment, self.plan.number, told)
        self._owner.version_failed(self, reason)

    # --- an instance, step by step ----------------------------------------------------------------------------------

    def instance_connected(self, instance: Instance) -> None:
        """Load."""
        with contextlib.ExitStack() as stack:
            fds = []
            if self.plan.pickle_path is not None:
                try:
                    fds.append(self._context.open_factory(self.plan.pickle_path))  # each its own offset
                except FileNotFoundError as error:
                    reason = f"the factory of this deployment was removed ({error}): deploy it again"
                    self.pool.refuse(instance, reason)
                    return
                stack.callback(os.close, fds[0])
            options = self._context.options
            message = {
                "type": "load",
                **self.plan.label,
                "spec": self.plan.spec,
                "device": instance.device,
                "threads": options.threads,
                "max_batch_size": self.plan.options.max_batch_size,
                "warmup_requests": self.plan.options.warmup_requests,
                "aging_ms": options.aging_ms,
                "batch_timeout_ms": options.settings.batch_timeout_ms,
                "tuning": options.terms(self.plan.options).to_json() if self.plan.options.tuning == "on" else None,
                "form": self._form,
                # Later ones look where the first one found it: what the name of a result is computed from may change
                # while a version serves, by an upgrade of a library or by recordings that arrive.
                "tuning_key": "" if self.plane is None else self.plane.description.tuning_key,
                "state_dir": options.settings.state_dir,
            }
            instance.tell(message, fds)

    @property
    def _form(self) -> str | None:
        """In which form its next instance computes; None: it finds out by itself, and then all others do the same."""
        if self.plane is None:
            return EAGER.name if self._form_is_deadly else None
        return self.plane.description.form

    def instance_died(self, instance: Instance) -> None:
        # A form that takes its process down says nothing of itself. The next one that is tried is the model as it came.
        in_silence = instance.was_told("load") and not instance.error and not instance.killed_by_us
        self._form_is_deadly |= self.plane is None and in_silence
        super().instance_died(instance)

    def instance_loaded(self, instance: Instance, description: bytes) -> None:
        """Attach, if it has loaded what those before it have; the first one's model is what the version is."""
        found = ModelDescription.from_bytes(description)
        if self.plane is None and not self._opens(found):
            return
        plane = self._known_plane()
        if plane.fits(found):
            self._attach_loaded()
        else:
            self._turn_away(instance, what_changed(self.plan, plane.description, found))

    def instance_ready(self, instance: Instance) -> None:
        """Its pidfd to every frontend, then go, then take: nobody can see its name in a slot before its pidfd."""
        self._announcements.announce(instance)
        self._context.persist()
        reach("ready.told")
        self._known_plane().steward.mark_go(instance.name)
        reach("ready.go")
        instance.tell({"type": "take"})
        if self.state is VersionState.STARTING:
            self._advance(VersionEvent.FIRST_READY)
        self._owner.version_serves(self)
        self._owner.version_changed(self)

    def pool_changed(self) -> None:
        """Looks whether somebody can be attached, whether a lane can be had, and whether anything can still come."""
        if not self.state.is_open:
            return
        if self.plane is not None and not self.plane.complete and not self.pool.named():
            self.plane.fill_bells(absent_too=self._context.everybody_back())
        self._attach_loaded()
        self._queue.serve()
        if self.state is VersionState.STARTING and self.pool.seats.hopeless:
            self._fail(self.pool.seats.reason)
            return
        self._context.rebalance()
        self._owner.version_changed(self)

    def _opens(self, description: ModelDescription) -> bool:
        """Makes the plane; a version that cannot have one fails."""
        loop, options, devices = self._context.loop, self._context.options, self.plan.options.devices
        try:
            self.plane = Plane.create(loop, options, self._hooks, description, devices)
        except EngineError as error:
            self._fail(str(error))
            return False
        self._queue.open(self.plane)
        # By themselves, and not with the message of the instance: repeated, that would find the plane open already.
        self._context.loop.attempt(functools.partial(self._owner.version_opened, self))
        return True

    def _attach_loaded(self) -> None:
        """Attaches those who have loaded, once every bell is known."""
        plane = self.plane
        if plane is None or not plane.complete:
            return
        for instance in self.pool.instances():
            if instance.state is not InstanceState.WARMING or instance.was_told("attach"):
                continue
            if not instance.name:
                who = instance.identity
                instance.name = plane.steward.new_name(
                    who.pid, who.start_ticks, seat=instance.seat, device=instance.device
                )
            reach("attach.named")
            record = self._context.record_json(self.plan, plane.description)
            attach = {"type": "attach", **self.plan.label, "name": instance.name, "record": record}
            instance.tell(attach, plane.attach_fds())

    def _turn_away(self, instance: Instance, reason: str) -> None:
        """The version is what was loaded first; whoever loads something else does not join.

        With nobody left who has loaded the same, and no way to get it back, another version has to go on.
        """
        self.pool.turn_away(instance, reason)
        same = [each for each in self.pool.instances() if each.name or each.state is InstanceState.WARMING]
        if self.state is VersionState.SERVING and not [each for each in same if each is not instance]:
            self._context.loop.attempt(functools.partial(self._owner.version_outdated, self, reason))
        self._owner.version_changed(self)

    # --- frontends --------------------------------------------------------------------------------------------------

    @property
    def waiting_pids(self) -> list[int]:
        """Pids of the frontends that wait for a lane, in order."""
        return self._queue.pids

    def offer(self, frontend: Frontend) -> None:
        """Gives `frontend` a lane, now or when there is one."""
        self._queue.add(frontend)

    def frontend_lost(self, frontend: Frontend) -> None:
        """It may come back for its lane, but it is not waiting for one any more."""
        self._queue.drop(frontend)

    def frontend_died(self, frontend: Frontend) -> None:
        """Its lane is swept, and then somebody else's."""
        self._queue.drop(frontend)
        super().frontend_died(frontend)

    def frontend_left(self, frontend: Frontend) -> None:
        """Its lane is somebody else's."""
        self._queue.drop(frontend)
        super().frontend_left(frontend)

    def offer_bells(self, fds: list[int], first_lane: int = 0) -> None:
        """With them there may be a lane to hand out, and instances can be attached."""
        super().offer_bells(fds, first_lane)
        self._attach_loaded()
        self._queue.serve()

    def _lane_given(self, frontend: Frontend) -> None:
        if self.plane is None:
            return
        self._send_living(frontend)
        self._owner.version_changed(self)
