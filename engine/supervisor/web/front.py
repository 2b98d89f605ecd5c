"""Between the supervisor and its status server: takes what there is to know, publishes it, and lets go of it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

from engine.supervisor.context import Context
from engine.supervisor.deployment import Deployment
from engine.supervisor.machine import MachineKeeper
from engine.supervisor.parcel import Parcel
from engine.supervisor.requests import Requests
from engine.supervisor.web.mappings import Mappings
from engine.supervisor.web.orders import Asker, Reply
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
        requests: Requests,
        tuning: Callable[[str], dict[str, Any]],
    ) -> None:
        """`requests` carries out orders. `tuning`: what is to be said of that of a deployment."""
        self._loop = context.loop
        self._options = context.options
        self._everybody_back = context.everybody_back
        self._totals = context.totals
        self._deployments = deployments
        self._machine = machine
        self._requests = requests
        self._tuning = tuning
        self._mappings = Mappings()
        self._server: StatusServer | None = None
        self._publisher = Publisher(context.loop, self._publish)

    @property
    def description(self) -> dict[str, Any]:
        """For status: `address` is None where there is no port, or while it is another's; `trouble` says so."""
        door = None if self._server is None else self._server.port
        return {"address": (door and door.address) or None, "trouble": door.trouble if door is not None else ""}

    def start(self) -> None:
        """Returns at once. Idempotent."""
        if self._server is None:
            self._server = StatusServer(self._options.settings, self._options.runtime_dir, self._give)
        self._publisher.start()

    def changed(self) -> None:
        """Something did that an operator may want to see."""
        self._publisher.changed()

    def close(self) -> None:
        """Within a second. Idempotent."""
        if self._server is None or self._server.close():
            self._mappings.close()  # else the thread hangs, in a disk say, and may still read in them

    def _give(self, fields: dict[str, Any], reply: Reply) -> bool:
        """From the server's thread; False once the loop has ended."""
        asker = Asker(functools.partial(self._result, reply))
        return self._loop.call_soon_threadsafe(functools.partial(self._requests.handle, asker, Parcel(fields, [])))

    def _result(self, reply: Reply, result: dict[str, Any]) -> None:
        """Told once the handler at hand is through, so that whoever hears it finds it published."""
        self._loop.call_after(0.0, functools.partial(self._tell, reply, result))

    def _tell(self, reply: Reply, result: dict[str, Any]) -> None:
        self._loop.attempt(self._publish)
        reply(result)

    def _publish(self) -> None:
        if self._server is None:
            return
        counted, machine = None, None
        if self._everybody_back():  # before that a figure would be too small, and fall for whoever saw the last one
            counted = self._mappings.counted(self._deployments, self._totals.carriers, self._tuning)
            machine = self._mappings.machine(self._machine.machine)
        self._server.publish(Snapshot.now(self._requests.status(), counted, machine), self._mappings.take_over())
