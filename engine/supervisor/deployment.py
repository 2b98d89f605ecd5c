"""One deployment: the version that serves, the one that starts, those that close, and who waits for their news.

A swap never leaves a gap: the new version serves and everybody has been told so before the old one closes.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Iterator
from typing import Any

from engine.core.lifecycle import DeploymentState, VersionState, deployment_state
from engine.crash_points import reach
from engine.errors import DeploymentFailed, EngineClosed, EngineError, NotReady, StateNotWritten
from engine.supervisor.context import Context
from engine.supervisor.frontend import Frontend
from engine.supervisor.ledger import DeploymentRecord
from engine.supervisor.loop import Timer
from engine.supervisor.plan import Plan
from engine.supervisor.plane import Plane
from engine.supervisor.version import Version

CARRY_EVERY_S = 0.25  # while an old version is still open, in which instances finish and count

# Frontends that read their messages within this time never meet a version that closes. Others meet it, are refused by
# it and find the next one; so the value decides how smooth a swap is, not whether it is right.
SWITCH_GRACE_S = 0.25

Waiter = Callable[[EngineError | None], None]  # told once: None for done

_log = logging.getLogger(__name__)


class Deployment:
    """All versions of one id. `awaited`: what a predecessor had serving, while nobody has offered its segment yet."""

    def __init__(self, context: Context, deployment_id: str, on_gone: Callable[[Deployment], None]) -> None:
        self.id = deployment_id
        self._context = context
        self._on_gone = on_gone
        self._carrier = context.totals.carrier(deployment_id)
        self._carry_timer: Timer | None = None
        self.serving: Version | None = None
        self.starting: Version | None = None
        self.awaited: DeploymentRecord | None = None
        self.retired: list[Version] = []
        self.newest = 0
        self._heir = 0  # number of the version that goes on because nobody can load what serves any more
        self.failure = ""
        self._leaving = False
        self._told: dict[str, Any] = {}
        self._start_waiters: list[Waiter] = []
        self._size_waiters: list[Waiter] = []
        self._gone_waiters: list[Waiter] = []

    # --- orders -----------------------------------------------------------------------------------------------------

    def deploy(self, plan: Plan, waiter: Waiter | None = None) -> None:
        """Starts `plan`, which then takes over from what serves. The waiter learns when it serves or has failed.

        Raises EngineClosed while the deployment is being taken out of service, StateNotWritten if it cannot be written
        down what a waiter asks for; then nothing has changed.
        """
        if self._leaving:
            raise EngineClosed(f"deployment {self.id} is being taken out of service")
        before = (self.starting, self.newest, self.failure)
        started = Version(self._context, plan, self)
        self.starting, self.newest, self.failure = started, max(self.newest, plan.number), ""
        try:
            self._write(waiter)
        except StateNotWritten:
            self.starting, self.newest, self.failure = before
            self._leave_if_empty()
            raise
        self._tell(self._start_waiters, NotReady(f"another deployment of {self.id} came in between"))
        if waiter is not None:
            self._start_waiters.append(waiter)
        reach("deploy.written")
        if before[0] is not None:
            self._retire(before[0], drain_s=0.0)
        self._context.loop.attempt(started.start)
        self.tell_state()

    def undeploy(self, waiter: Waiter | None = None, *, drain_s: float | None = None) -> None:
        """Takes everything out of service; the waiter learns when the last process is gone.

        Raises StateNotWritten if it cannot be written down what a waiter asks for; then nothing has changed.
        """
        before = (self.serving, self.starting, self.awaited, self._leaving)
        self.serving = self.starting = self.awaited = None
        self._leaving = True
        try:
            self._write(waiter)
        except StateNotWritten:
            self.serving, self.starting, self.awaited, self._leaving = before
            raise
        if waiter is not None:
            self._gone_waiters.append(waiter)
        self._tell(self._start_waiters, EngineClosed(f"deployment {self.id} is being taken out of service"))
        self.retired += [version for version in before[:2] if version is not None]
        drain_s = self._context.options.request_timeout_s if drain_s is None else drain_s
        for version in list(self.retired):
            self._context.loop.attempt(functools.partial(version.close, drain_s=drain_s))
        self.tell_state()
        self._leave_if_empty()

    def scale(self, pool_size: int, waiter: Waiter) -> None:
        """Another pool size for the version that serves (or starts).

        Raises NotReady if there is none, StateNotWritten if it cannot be written down; then nothing has changed.
        """
        version = self.serving or self.starting
        if version is None:
            raise NotReady(f"deployment {self.id} has no version that could be scaled")
        before = version.plan
        options = dataclasses.replace(before.options, pool_size=pool_size)
        version.plan = dataclasses.replace(before, options=options)
        try:
            self._write(waiter)
        except StateNotWritten:
            version.plan = before
            raise
        self._size_waiters.append(waiter)
        self._context.rebalance()
        self.version_changed(version)

    def adopt(self, version: Version, *, serves: bool) -> None:
        """A version found alive. One that is not desired any more is closed."""
        if serves and self.awaited is not None:
            self.awaited = None
            self.serving = version
            self._context.rebalance()
            # Not at once: whoever offers it is in the middle of saying which lane it has already.
            self._context.loop.call_after(0.0, functools.partial(self.version_opened, version))
        else:
            self._retire(version, drain_s=self._context.options.request_timeout_s)
        self._context.loop.attempt(self.carry)
        self._context.persist()
        self.tell_state()

    def make_way(self, version: Version) -> None:
        """Somebody else's version of ours has the number of `version`: ours goes on under another."""
        if version is self.starting or (version is self.serving and self.starting is None):
            self.deploy(dataclasses.replace(version.plan, number=self.newest + 1))

    def _retire(self, version: Version, *, drain_s: float) -> None:
        if version not in self.retired:
            self.retired.append(version)
        self._context.loop.attempt(functools.partial(version.close, drain_s=drain_s))

    def _write(self, waiter: Waiter | None) -> None:
        """An order is written down or refused; what happens by itself goes on, and is written when that can be."""
        if waiter is not None:
            self._context.commit()
        else:
            self._context.persist()

    # --- what there is ----------------------------------------------------------------------------------------------

    def versions(self) -> Iterator[Version]:
        """Everything that has processes or a segment, in order of age where it matters to nobody else."""
        yield from (*self.retired, *(each for each in (self.serving, self.starting) if each is not None))

    def version(self, number: int) -> Version | None:
        return next((each for each in self.versions() if each.plan.number == number), None)

    @property
    def configured(self) -> bool:
        """Whether the settings name it: then a frontend does not listen before it has a lane in it."""
        plans = [each.plan for each in (self.serving, self.starting) if each is not None]
        if self.awaited is not None and self.awaited.serving is not None:
            plans.append(self.awaited.serving)
        return any(plan.configured for plan in plans)

    @property
    def state(self) -> DeploymentState:
        if self._leaving:
            return DeploymentState.CLOSING if any(self.versions()) else DeploymentState.GONE
        if self.awaited is not None:
            return DeploymentState.STARTING
        if self.serving is not None and self.serving.pool.hopeless and not self._heir_starts:
            return DeploymentState.FAILED  # it is tried on; until then requests have better places to go
        states: set[VersionState] = {each.state for each in self.versions()}
        return deployment_state(states, failed=bool(self.failure))

    @property
    def _heir_starts(self) -> bool:
        return self.starting is not None and self.starting.plan.number == self._heir

    @property
    def reason(self) -> str:
        """Why it is not ready, or not as large as wished; empty if there is nothing to say."""
        held_by = sorted({pid for each in self.versions() for pid in each.held_by}) if self._leaving else []
        if held_by:
            pids = ", ".join(map(str, held_by))
            return f"its instances have ended; processes that are stopped or stuck have not let go yet: {pids}"
        version = self.serving or self.starting
        return self.failure or (version.pool.reason if version is not None else "")

    @property
    def record(self) -> DeploymentRecord:
        """For the state file."""
        known = self.awaited or DeploymentRecord(self.id, 0, None, None, None)
        serving, description = known.serving, known.description
        if self.serving is not None and self.serving.plane is not None:
            serving, description = self.serving.plan, self.serving.plane.description
        starting = self.starting.plan if self.starting is not None else None
        return DeploymentRecord(self.id, self.newest, serving, starting, description)

    def keeps_waiting(self, frontend: Frontend) -> bool:
        """Whether `frontend` must not listen yet on our account."""
        if self.serving is not None:
            return not self.serving.has_lane(frontend)
        if not self.configured:
            return False
        return self.awaited is not None or (self.starting is not None and not self.starting.has_lane(frontend))

    # --- telling frontends ------------------------------------------------------------------------------------------

    def offer(self, frontend: Frontend) -> None:
        """Tells a new frontend all there is, with lanes."""
        frontend.send(self._state_message())
        for version in self.versions():
            version.offer(frontend)

    def tell_state(self) -> None:
        """Tells everybody, if there is news."""
        message = self._state_message()
        if message != self._told:
            self._told = message
            told = str(message["reason"]).strip().rpartition("\n")[2]  # the traceback above it is logged already
            _log.info("%s is %s (version %d) %s", self.id, message["state"], message["version"], told)
            self._context.frontends.tell(message)
        self._context.news()

    def _state_message(self) -> dict[str, Any]:
        return {
            "type": "state",
            "deployment": self.id,
            "state": self.state.value,
            "version": self.serving.plan.number if self.serving is not None else 0,
            "reason": self.reason,
        }

    # --- what versions report ---------------------------------------------------------------------------------------

    def version_opened(self, version: Version) -> None:
        self.carry()  # before anybody reads in it
        for frontend in self._context.frontends.all():
            if frontend.connected:
                self._context.loop.attempt(functools.partial(version.offer, frontend))

    def version_serves(self, version: Version) -> None:
        if version is not self.starting:
            return
        before, self.serving, self.starting, self.awaited = self.serving, version, None, None
        self.failure = ""
        self._context.persist()
        reach("serve.written")
        if before is not None:
            self.retired.append(before)
            drain_s = self._context.options.request_timeout_s
            self._context.loop.call_after(SWITCH_GRACE_S, functools.partial(before.close, drain_s=drain_s))
        self._context.loop.attempt(self.tell_state)
        self._tell(self._start_waiters, None)
        self._context.rebalance()

    def version_failed(self, version: Version, reason: str) -> None:
        if version not in self.retired:
            self.retired.append(version)
        self.starting = None
        if self.serving is None:
            self.failure = reason
        self._context.persist()
        self._context.rebalance()
        self.tell_state()
        self._tell(self._start_waiters, DeploymentFailed(reason))

    def version_changed(self, version: Version) -> None:
        self.tell_state()
        if version is self.serving and version.pool.settled:
            short = version.pool.reason if version.pool.ready < len(version.pool.seats) else ""
            self._tell(self._size_waiters, DeploymentFailed(short) if short else None)

    def version_outdated(self, version: Version, reason: str) -> None:
        """Nobody is left who serves `version`, and what would be loaded in its place is another model.

        To refuse it for ever would be an outage for the sake of a number: it goes on under the next one, which is what
        the answers then say. What waits in slots is taken over.
        """
        if version is not self.serving or self.starting is not None or self._leaving:
            return
        self._heir = self.newest + 1
        _log.warning("%s: %s; nobody serves that one any more: version %d follows it", self.id, reason, self._heir)
        self.deploy(dataclasses.replace(version.plan, number=self._heir))

    def version_empties(self, version: Version) -> None:
        if version.plane is not None:
            planes = {**self._planes(), version.plan.number: version.plane}
            self._carrier.leave(dict(sorted(planes.items())), version.plan.number)
            self._context.totals.changed()

    def carry(self) -> None:
        """Counters go on in the next version; again and again while an older one is open, in which some still count."""
        if self._carry_timer is not None:
            self._carry_timer.cancel()
            self._carry_timer = None
        planes = self._planes()
        if len(planes) > 1:
            self._carry_timer = self._context.loop.call_after(CARRY_EVERY_S, self.carry)
        self._carrier.carry(planes)

    def _planes(self) -> dict[int, Plane]:
        """Those that are open by number of their version, the oldest first."""
        versions = sorted(self.versions(), key=lambda each: each.plan.number)
        return {each.plan.number: each.plane for each in versions if each.plane is not None}

    def version_gone(self, version: Version) -> None:
        if version in self.retired:
            self.retired.remove(version)
        path = version.plan.pickle_path
        if path is not None and path not in self._factories_in_use():
            self._context.loop.attempt(functools.partial(self._context.forget_factory, path))
        self._context.rebalance()
        self.tell_state()
        self._leave_if_empty()

    def _factories_in_use(self) -> set[object]:
        return {each.plan.pickle_path for each in self.versions()}

    def _leave_if_empty(self) -> None:
        wanted = self.awaited is not None or (self.failure and not self._leaving)
        if not wanted and not any(self.versions()):
            self._tell(self._gone_waiters, None)
            self._on_gone(self)

    def _tell(self, waiters: list[Waiter], error: EngineError | None) -> None:
        told, waiters[:] = waiters[:], []
        for waiter in told:
            self._context.loop.attempt(functools.partial(waiter, error))
