"""Drained deployments: they take nothing new, finish what they have, and keep their models until they may go on.

Frontends are told by the state of the deployment, and turn requests away as from one that is not ready: to the original
API where there is one. What stands in line in them is still served.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

from engine.clock import Deadline
from engine.errors import DeadlineExceeded, NotReady
from engine.shm.board import queue_length
from engine.supervisor.context import Context
from engine.supervisor.deployment import SWITCH_GRACE_S, Deployment
from engine.supervisor.waiters import Waiter

_LOOK_EVERY_S = 0.05


class Drainage:
    """All that changes `drained` of a deployment, but for a successor that reads what was written, or is told."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def drain(self, deployment: Deployment, waiter: Waiter) -> None:
        """It takes nothing new; the waiter learns when nothing is outstanding, or that it takes too long.

        Either way it stays drained. Raises NotReady if there is nothing to drain, StateNotWritten if it cannot be
        written down; then nothing has changed.
        """
        if not any((deployment.versions.serving, deployment.versions.starting, deployment.versions.awaited)):
            raise NotReady(f"deployment {deployment.id} has no version that could be drained")
        self._change(deployment, drained=True)
        until = Deadline.after_s(SWITCH_GRACE_S + self._context.options.request_timeout_s)
        # Not at once: frontends that have not read the news yet still let requests in.
        look = functools.partial(self._look, deployment, waiter, until)
        self._context.loop.call_after(SWITCH_GRACE_S, look)

    def resume(self, deployment: Deployment, waiter: Waiter) -> None:
        """It takes requests again. Raises StateNotWritten, and then it does not."""
        self._change(deployment, drained=False)
        waiter(None)

    @contextlib.contextmanager
    def ended(self, deployment: Deployment) -> Iterator[None]:
        """Inside it is not drained, and so it stays; but if the inside raises, all is as it was."""
        before = deployment.versions.drained
        deployment.versions.drained = False
        try:
            yield
        except Exception:  # whatever it is, all is as it was before it is told
            deployment.versions.drained = before
            raise
        self._context.totals.changed()

    def _change(self, deployment: Deployment, *, drained: bool) -> None:
        before = deployment.versions.drained
        deployment.versions.drained = drained
        try:
            self._context.commit()
        except Exception:  # whatever it is, all is as it was before it is told
            deployment.versions.drained = before
            raise
        self._context.totals.changed()
        self._context.loop.attempt(deployment.tell_state)

    def _look(self, deployment: Deployment, waiter: Waiter, until: Deadline) -> None:
        if not deployment.versions.drained:
            waiter(NotReady(f"deployment {deployment.id} takes requests again: somebody came in between"))
            return
        left = _outstanding(deployment)
        if not left:
            waiter(None)
        elif until.expired:
            waiter(DeadlineExceeded(f"deployment {deployment.id} takes nothing new; {left} requests are not done yet"))
        else:
            self._context.loop.call_after(_LOOK_EVERY_S, functools.partial(self._look, deployment, waiter, until))


def _outstanding(deployment: Deployment) -> int:
    """Slots in use, and requests that wait for one."""
    found = 0
    for plane in deployment.versions.planes.values():
        counts = plane.steward.counts()
        found += counts.total - counts.free - counts.ready + queue_length(plane.segment)
    return found
