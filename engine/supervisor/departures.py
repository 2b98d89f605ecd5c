"""Instances of one pool on their way out: told to leave, or ending by themselves, and killed when they stay too long.

Every kill by us is an order, which counts against none of the requests that the instance was computing; except for one
that said itself that it dies of its work.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

from engine.clock import NS_PER_S, now_ns
from engine.core.leaving import LeavePolicy
from engine.core.lifecycle import InstanceEvent, InstanceState
from engine.supervisor.instance import Instance
from engine.supervisor.loop import Loop

LONGEST_LOOK_AWAY_S = 60.0  # between two looks at what a leaving instance still holds
UNDRESS_WITHIN_S = 0.1  # from the last reply to the end of the process
UNDRESS_POISONED_WITHIN_S = 2.0  # a device that is lost can hold its process for a while

_log = logging.getLogger(__name__)


class Departures:
    """`leaving` are those that were told to leave and have no seat any more."""

    def __init__(
        self,
        loop: Loop,
        policy: LeavePolicy,
        *,
        death_ordered: Callable[[Instance], None],
        latest_deadline_ns: Callable[[Instance, int], int | None],
    ) -> None:
        """`death_ordered` is called before each kill. `latest_deadline_ns`: until when somebody waits for what an
        instance has in hand, of the requests that arrived by a moment; None if nobody does."""
        self._loop = loop
        self._policy = policy
        self._death_ordered = death_ordered
        self._latest_deadline_ns = latest_deadline_ns
        self.leaving: list[Instance] = []

    def dismiss(self, instance: Instance) -> None:
        """Tells it to leave, or kills it if it holds no work. May be repeated."""
        if instance.state is InstanceState.LEAVING:
            return
        was_ready = instance.state is InstanceState.READY
        with instance.advancing(InstanceEvent.TOLD_TO_LEAVE):
            if was_ready:
                instance.send({"type": "detach"})
                self.see_off(instance)
            else:
                self.end(instance)  # it would not read an order before it has booted
        self.leaving.append(instance)

    def see_off(self, instance: Instance) -> None:
        """From now on it is on its way out."""
        instance.leaves_since_ns = now_ns()
        self._loop.call_after(self._policy.idle_ns / NS_PER_S, functools.partial(self._insist, instance))

    def end(self, instance: Instance) -> None:
        """Kills it, by order."""
        if instance.state is not InstanceState.DEAD:
            self._death_ordered(instance)
            instance.kill()

    def detached(self, instance: Instance) -> None:
        """It has replied to everything and stores nothing any more.

        What is left is an interpreter with torch in it taking itself apart, which takes most of a second.
        """
        self._loop.call_after(UNDRESS_WITHIN_S, functools.partial(self.end, instance))

    def poisoned(self, instance: Instance) -> None:
        """It ran and cannot compute any more: its death, which follows by itself, is no failed start."""
        self._loop.call_after(UNDRESS_POISONED_WITHIN_S, functools.partial(self._finish_off, instance))

    def died(self, instance: Instance) -> None:
        """It is nobody's any more. Idempotent."""
        if instance in self.leaving:
            self.leaving.remove(instance)

    def _finish_off(self, instance: Instance) -> None:
        """Kills one that said it dies of its work and does not; unlike `end` this counts against that work."""
        if instance.state is not InstanceState.DEAD:
            instance.kill()

    def _insist(self, instance: Instance) -> None:
        """Kills an instance that is still there although nobody waits for its work, else looks again later."""
        if instance.state is InstanceState.DEAD:
            return
        told_ns, now = instance.leaves_since_ns, now_ns()
        latest_ns = self._latest_deadline_ns(instance, told_ns + self._policy.idle_ns)
        until_ns = self._policy.stays_until_ns(told_ns=told_ns, latest_deadline_ns=latest_ns)
        if until_ns > now:
            again_s = min((until_ns - now) / NS_PER_S, LONGEST_LOOK_AWAY_S)
            self._loop.call_after(again_s, functools.partial(self._insist, instance))
            return
        _log.warning("instance %d does not leave; killed", instance.identity.pid)
        self.end(instance)
