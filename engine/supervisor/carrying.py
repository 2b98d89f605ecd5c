"""Counters of a deployment are carried on at once where a reader comes, and for as long as two versions count."""

from __future__ import annotations

from engine.supervisor.closing_version import ClosingVersion
from engine.supervisor.context import Context
from engine.supervisor.loop import Timer
from engine.supervisor.succession import Succession

_AGAIN_S = 0.25  # while an old version is still open, in which instances finish and count


class Carrying:
    """For one deployment; may be told to carry at any moment."""

    def __init__(self, context: Context, deployment_id: str, versions: Succession) -> None:
        self._context = context
        self._carrier = context.totals.carrier(deployment_id)
        self._versions = versions
        self._timer: Timer | None = None

    def carry(self) -> None:
        """Counters go on in the next version; again and again while an older one is open."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        planes = self._versions.planes
        if len(planes) > 1:
            self._timer = self._context.loop.call_after(_AGAIN_S, self.carry)
        self._carrier.carry(planes)

    def leave(self, version: ClosingVersion) -> None:
        """The plane of `version`, if it has one, is about to be closed."""
        if version.plane is not None:
            planes = {**self._versions.planes, version.plan.number: version.plane}
            self._carrier.leave(dict(sorted(planes.items())), version.plan.number)
            self._context.totals.changed()
