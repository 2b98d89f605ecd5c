"""How the engine is, for a service manager: ready once a deployment serves, why not until then, and alive.

The sign of life comes out of the supervisor's loop, because it is the loop that must not stand still.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from engine.core.lifecycle import DeploymentState
from engine.launch.service_manager import ServiceManager
from engine.supervisor.deployment import Deployment
from engine.supervisor.loop import Loop

_EVERY_S = 0.5  # how late a change may show; a look costs microseconds
_SERVING = (DeploymentState.READY, DeploymentState.DRAINED)  # what somebody had drained is no start that failed
_LINE_END = "\n"
_SIGNS_PER_LIMIT = 3  # of life: one or two may be late


class ServiceReport:
    """Told to `manager` from time to time, and at once when anything is new."""

    def __init__(
        self,
        loop: Loop,
        manager: ServiceManager,
        *,
        deployments: Callable[[], Iterable[Deployment]],
        is_leaving: Callable[[], bool],
    ) -> None:
        self._loop = loop
        self._manager = manager
        self._deployments = deployments
        self._is_leaving = is_leaving
        self._every_s = min(_EVERY_S, manager.watchdog_s / _SIGNS_PER_LIMIT) if manager.watchdog_s else _EVERY_S
        self._told = ""
        self._was_ready = False

    def beat(self) -> None:
        """Says what there is to say, and comes again. For the loop."""
        if not self._manager.listens:
            return
        if self._is_leaving():  # the manager has a time limit of its own for that, and wants no sign of life any more
            self.end()
            return
        deployments = list(self._deployments())
        ready = self._was_ready or any(each.versions.state in _SERVING for each in deployments)
        status = in_one_line(deployments)
        news = status if status != self._told else ""
        if self._manager.tell(ready=ready and not self._was_ready, alive=self._manager.watchdog_s > 0, status=news):
            self._was_ready, self._told = ready, status
        self._loop.call_after(self._every_s, self.beat)  # last: repeated, it would come twice as often from then on

    def end(self) -> None:
        """It is being ended. May be said again."""
        self._manager.tell(stopping=True, status="ending: what was begun is finished first")


def in_one_line(deployments: Iterable[Deployment]) -> str:
    """All deployments: what serves how well, and why something does not."""
    return "; ".join(map(_one, deployments)) or "no deployment yet"


def _one(deployment: Deployment) -> str:
    versions = deployment.versions
    version = versions.serving or versions.starting
    told = f"{deployment.id} {versions.state.value}"
    if version is not None:
        seats = version.pool.seats
        told += f" (version {version.plan.number}: {seats.working} of {len(seats)} instances)"
    if versions.reason and versions.state is not DeploymentState.READY:
        told += f": {versions.reason.strip().rpartition(_LINE_END)[2]}"
    return told
