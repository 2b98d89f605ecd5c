"""Between the supervisor and its status server: takes what there is to know, publishes it, and lets go of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from engine.supervisor.context import Context
from engine.supervisor.deployment import Deployment
from engine.supervisor.machine import MachineKeeper
from engine.supervisor.web.mappings import Mappings
from engine.supervisor.web.publisher import Publisher
from engine.supervisor.web.server import StatusServer
from engine.supervisor.web.snapshot import Snapshot


class StatusFront:
    """For the supervisor's loop."""

    def __init__(
        self,
        context: Context,
        deployments: Iterable[Deployment],
        machine: MachineKeeper,
        *,
        state: Callable[[], dict[str, Any]],
        tuning: Callable[[str], dict[str, Any]],
    ) -> None:
        """`state`: as `status` has it. `tuning`: what is to be said of that of a deployment."""
        self._options = context.options
        self._totals = context.totals
        self._deployments = deployments
        self._machine = machine
        self._state = state
        self._tuning = tuning
        self._mappings = Mappings()
        self._server: StatusServer | None = None
        self._publisher = Publisher(context.loop, self._publish)

    def start(self) -> None:
        """Returns at once. Idempotent."""
        if self._server is None:
            self._server = StatusServer(self._options.settings, self._options.runtime_dir)
        self._publisher.start()

    def changed(self) -> None:
        """Something did that an operator may want to see."""
        self._publisher.changed()

    def close(self) -> None:
        """Within a second. Idempotent."""
        if self._server is None or self._server.close():
            self._mappings.close()  # else the thread hangs, in a disk say, and may still read in them

    def _publish(self) -> None:
        if self._server is None:
            return
        counted = self._mappings.counted(self._deployments, self._totals.carriers, self._tuning)
        machine = self._mappings.machine(self._machine.machine)
        self._server.publish(Snapshot.now(self._state(), counted, machine), self._mappings.take_over())
