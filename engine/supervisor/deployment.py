"""One deployment: the version that serves, the one that starts, those that close, and who waits for their news.

A swap never leaves a gap: the new version serves and everybody has been told so before the old one closes.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable
from typing import Any

from engine.crash_points import reach
from engine.errors import DeploymentFailed, EngineClosed, NotReady
from engine.supervisor.carrying import Carrying
from engine.supervisor.closing_version import ClosingVersion
from engine.supervisor.context import Context
from engine.supervisor.frontend import Frontend
from engine.supervisor.plan import Plan
from engine.supervisor.serving_version import ServingVersion
from engine.supervisor.succession import Succession
from engine.supervisor.version import Version
from engine.supervisor.waiters import Waiter, Waiters

# Frontends that read their messages within this time never meet a version that closes. Others meet it, are refused by
# it and find the next one; so the value decides how smooth a swap is, not whether it is right.
SWITCH_GRACE_S = 0.25

_log = logging.getLogger(__name__)


class Deployment:
    """All that is done with the versions of one id. Orders that end well or badly are told to those who wait for it."""

    def __init__(self, context: Context, deployment_id: str, on_gone: Callable[[Deployment], None]) -> None:
        self.id = deployment_id
        self._context = context
        self._on_gone = on_gone
        self.versions = Succession()
        self._carrying = Carrying(context, deployment_id, self.versions)
        self.carry = self._carrying.carry
        self.version_empties = self._carrying.leave
        self._told: dict[str, Any] = {}
        self._start_waiters = Waiters(context.loop)
        self._size_waiters = Waiters(context.loop)
        self._gone_waiters = Waiters(context.loop)

    # --- orders -----------------------------------------------------------------------------------------------------

    def deploy(self, plan: Plan, waiter: Waiter | None = None) -> None:
        """Starts `plan`, which then takes over from what serves. The waiter learns when it serves or has failed.

        Raises EngineClosed while the deployment is being taken out of service, StateNotWritten if it cannot be written
        down what a waiter asks for; then nothing has changed.
        """
        if self.versions.undeployed:
            raise EngineClosed(f"deployment {self.id} is being taken out of service")
        versions, started = self.versions, ServingVersion(self._context, plan, self)
        before = (versions.starting, versions.newest, versions.failure)
        versions.starting, versions.newest, versions.failure = started, max(versions.newest, plan.number), ""
        try:
            self._write(waiter)
        except Exception:  # whatever it is, all is as it was before it is told
            versions.starting, versions.newest, versions.failure = before
            self._leave_if_empty()
            raise
        # From here on nothing may be raised: it is begun, and whoever hears otherwise gives it again.
        in_between = NotReady(f"another deployment of {self.id} came in between")
        self._start_waiters.tell(in_between)
        if waiter is not None:
            self._size_waiters.tell(in_between)
        self._start_waiters.add(waiter)
        reach("deploy.written")
        if before[0] is not None:
            self._replace(before[0], drain_s=0.0)
        self._context.loop.attempt(started.start)
        self._context.loop.attempt(self.tell_state)

    def refuse(self, reason: str) -> None:
        """It is wanted, and cannot be: it has failed before it was begun, if nothing of it serves."""
        self.versions.failure = reason
        self.tell_state()

    def undeploy(self, waiter: Waiter | None = None, *, drain_s: float | None = None) -> None:
        """Takes everything out of service; the waiter learns when the last process is gone.

        Raises StateNotWritten if it cannot be written down what a waiter asks for; then nothing has changed.
        """
        versions = self.versions
        before = (versions.serving, versions.starting, versions.awaited, versions.undeployed)
        versions.serving, versions.starting, versions.awaited, versions.undeployed = None, None, None, True
        try:
            self._write(waiter)
        except Exception:  # whatever it is, all is as it was before it is told
            versions.serving, versions.starting, versions.awaited, versions.undeployed = before
            raise
        self._gone_waiters.add(waiter)
        for waiters in (self._start_waiters, self._size_waiters):
            waiters.tell(EngineClosed(f"deployment {self.id} is being taken out of service"))
        drain_s = self._drain_s if drain_s is None else drain_s
        for closing in list(versions.closing):
            self._context.loop.attempt(functools.partial(closing.close, drain_s=drain_s))
        for replaced in list(versions.replaced):
            self._context.loop.attempt(functools.partial(self._close, replaced, drain_s=drain_s))
        for version in before[:2]:
            if version is not None:
                self._replace(version, drain_s=drain_s)
        self._context.loop.attempt(self.tell_state)
        self._context.loop.attempt(self._leave_if_empty)

    def scale(self, pool_size: int, waiter: Waiter) -> None:
        """Another pool size for the version that serves, and for the one that is about to take its place.

        Raises NotReady if there is none, StateNotWritten if it cannot be written down; then nothing has changed.
        """
        before = {each: each.plan for each in (self.versions.serving, self.versions.starting) if each is not None}
        if not before:
            raise NotReady(f"deployment {self.id} has no version that could be scaled")
        for version, plan in before.items():
            version.plan = dataclasses.replace(plan, options=dataclasses.replace(plan.options, pool_size=pool_size))
        try:
            self._write(waiter)
        except Exception:  # whatever it is, all is as it was before it is told
            for version, plan in before.items():
                version.plan = plan
            raise
        self._size_waiters.add(waiter)
        self._context.rebalance()
        self._context.loop.attempt(functools.partial(self.version_changed, next(iter(before))))

    def adopt(self, version: ServingVersion, *, serves: bool) -> Version:
        """A version found alive. One that is not desired is closed, but not before the one that starts in its place.

        Returns what it is from here on.
        """
        if serves and self.versions.awaited is not None:
            self.versions.awaited = None
            self.versions.serving = version
            self._context.rebalance()
            # Not at once: whoever offers it is in the middle of saying which lane it has already.
            self._context.loop.call_after(0.0, functools.partial(self.version_opened, version))
        elif self.versions.serving is None and self.versions.starting is not None:
            self.versions.replaced.append(version)
        else:
            self._replace(version, drain_s=self._drain_s)
        self._context.loop.attempt(self.carry)
        self._context.persist()
        self.tell_state()
        return self.versions.numbered(version.plan.number) or version

    def make_way(self, version: Version) -> None:
        """Somebody else's version of ours has the number of `version`: ours goes on under another."""
        if version is self.versions.starting or (version is self.versions.serving and self.versions.starting is None):
            self.deploy(dataclasses.replace(version.plan, number=self.versions.newest + 1))

    def _replace(self, version: ServingVersion, *, drain_s: float) -> None:
        """It is not the one that serves or starts any more, and closes at once."""
        self.versions.replaced.append(version)
        self._context.loop.attempt(functools.partial(self._close, version, drain_s=drain_s))

    def _close(self, version: ServingVersion, *, drain_s: float) -> None:
        """From here on a version that was replaced is one that closes. Nothing happens if it is that already."""
        if version in self.versions.replaced:
            closing = ClosingVersion(self._context, version.retire(), self)
            self.versions.closing.append(closing)
            self.versions.replaced.remove(version)
            self._context.loop.attempt(functools.partial(closing.close, drain_s=drain_s))

    @property
    def _drain_s(self) -> float:
        """How long an answer may take that somebody waits for."""
        return self._context.options.request_timeout_s

    def _write(self, waiter: Waiter | None) -> None:
        """An order is written down or refused; what happens by itself goes on, and is written when that can be.

        Whatever is raised, the order has to be undone: a version that is neither named here any more nor told to close
        would keep its processes for ever.
        """
        if waiter is not None:
            self._context.commit()
        else:
            self._context.persist()

    # --- telling frontends ------------------------------------------------------------------------------------------

    def offer(self, frontend: Frontend) -> None:
        """Tells a new frontend all there is, with lanes; what is on its way out last, so that it never has nothing."""
        frontend.send(self._state_message())
        for version in reversed(list(self.versions)):
            version.offer(frontend)

    def tell_state(self) -> None:
        """Tells everybody, if there is news."""
        message = self._state_message()
        if message != self._told:
            told = str(message["reason"]).strip().rpartition("\n")[2]  # the traceback above it is logged already
            _log.info("%s is %s (version %d) %s", self.id, message["state"], message["version"], told)
            self._context.frontends.tell(message)
            self._told = message  # not before: who was not told by now is told again
        self._context.news()

    def _state_message(self) -> dict[str, Any]:
        return {
            "type": "state",
            "deployment": self.id,
            "state": self.versions.state.value,
            "version": self.versions.number_serving,
            "reason": self.versions.reason,
        }

    # --- what versions report ---------------------------------------------------------------------------------------

    def version_opened(self, version: ServingVersion) -> None:
        """It has lanes to give."""
        self.carry()  # before anybody reads in it
        for frontend in self._context.frontends.all():
            if frontend.connected:
                self._context.loop.attempt(functools.partial(version.offer, frontend))

    def version_serves(self, version: ServingVersion) -> None:
        """One of its instances is ready. The first time it takes the place of what served."""
        if version is not self.versions.starting:
            return
        self.versions.promote()
        self._context.persist()
        reach("serve.written")
        for before in self.versions.replaced:
            close = functools.partial(self._close, before, drain_s=self._drain_s)
            self._context.loop.call_after(SWITCH_GRACE_S, functools.partial(self._context.when_written, close))
        self._context.loop.attempt(self.tell_state)
        # What is said to be done stays done: a successor must know it.
        self._context.when_written(self._start_waiters.taken().tell)
        self._context.rebalance()

    def version_failed(self, version: ServingVersion, reason: str) -> None:
        """It will never serve."""
        if version is not self.versions.starting:
            return
        self.versions.starting = None
        if self.versions.serving is None:
            self.versions.failure = reason
            for found in list(self.versions.replaced):
                self._context.loop.attempt(functools.partial(self._close, found, drain_s=self._drain_s))
        self._go_on_without(version, drain_s=0.0)
        self._start_waiters.tell(DeploymentFailed(reason))

    def give_up(self, version: Version, reason: str) -> None:
        """What serves may not: all of it closes, and `reason` is what the deployment has failed for."""
        if version is not self.versions.serving:
            return
        self.versions.serving, self.versions.failure = None, reason
        self._go_on_without(version, drain_s=self._drain_s)

    def _go_on_without(self, version: ServingVersion, *, drain_s: float) -> None:
        self._replace(version, drain_s=drain_s)
        self._context.persist()
        self._context.rebalance()
        self._context.loop.attempt(self.tell_state)
        if self.versions.serving is None:  # it will never have as many instances as were wished
            self._size_waiters.tell(DeploymentFailed(self.versions.failure))

    def version_changed(self, version: Version) -> None:
        """Of its instances or its frontends, or of its state."""
        self.tell_state()
        if version is self.versions.serving and version.pool.seats.settled:
            short = version.pool.seats.reason if version.pool.seats.working < len(version.pool.seats) else ""
            self._size_waiters.tell(DeploymentFailed(short) if short else None)

    def version_outdated(self, version: ServingVersion, reason: str) -> None:
        """Nobody is left who serves `version`, and what would be loaded in its place is another model.

        To refuse it for ever would be an outage for the sake of a number: it goes on under the next one, which is what
        the answers then say. What waits in slots is taken over.
        """
        versions = self.versions
        if version is not versions.serving or versions.starting is not None or versions.undeployed:
            return
        versions.heir = versions.newest + 1
        _log.warning("%s: %s; nobody serves that one any more: version %d follows it", self.id, reason, versions.heir)
        self.deploy(dataclasses.replace(version.plan, number=versions.heir))

    def version_gone(self, version: ClosingVersion) -> None:
        """Nothing is left of it. May be repeated."""
        if version in self.versions.closing:
            self.versions.closing.remove(version)
        path = version.plan.pickle_path
        if path is not None and path not in self.versions.factories:
            self._context.loop.attempt(functools.partial(self._context.forget_factory, path))
        self._context.rebalance()
        self.tell_state()
        self._leave_if_empty()

    def _leave_if_empty(self) -> None:
        if not self.versions.wanted and not any(self.versions):
            self._on_gone(self)
            self._context.when_written(self._gone_waiters.taken().tell)
