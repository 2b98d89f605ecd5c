"""The status server's own mappings of what is counted: made by the loop, closed by the thread that reads in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from engine.shm.machine import MachineSegment
from engine.shm.segment import Segment
from engine.supervisor.counting import Carrier
from engine.supervisor.deployment import Deployment
from engine.supervisor.plane import Plane
from engine.supervisor.web.counted import CountedDeployment, CountedMachine, CountedVersion

Closing = Callable[[], None]


class Mappings:
    """For the loop. What it hands out is valid until `take_over` has given the way to close it to the thread."""

    def __init__(self) -> None:
        self._segments: dict[Plane, Segment] = {}
        self._machine: MachineSegment | None = None
        self._over: list[Closing] = []  # of those that no later snapshot names

    def counted(
        self,
        deployments: Iterable[Deployment],
        carriers: dict[str, Carrier],
        tuning: Callable[[str], dict[str, object]],
    ) -> CountedMachine:
        """Everything that is counted just now. Raises OSError for want of descriptors."""
        open_now: set[Plane] = set()
        found = {name: CountedDeployment(tuple(carrier.gone)) for name, carrier in carriers.items()}
        for each in deployments:
            planes = each.versions.planes
            open_now |= set(planes.values())
            carrier = carriers.get(each.id) or Carrier()
            found[each.id] = CountedDeployment(
                gone=tuple(carrier.gone),
                versions=tuple(self._version(number, plane, carrier) for number, plane in planes.items()),
                serving=each.versions.number_serving,
                is_gone=False,
                tuning=tuning(each.id),
            )
        for plane in self._segments.keys() - open_now:
            self._over.append(self._segments.pop(plane).close)
        return CountedMachine(found)

    def machine(self, current: MachineSegment | None) -> MachineSegment | None:
        """A mapping of the segment there is. Raises OSError for want of descriptors."""
        known = self._machine
        if current is not None and (known is None or known.identity != current.identity):
            self._machine = current.again()
            if known is not None:
                self._over.append(known.close)
        return self._machine

    def take_over(self) -> list[Closing]:
        """What is to be closed, by whoever may still be reading in it, once the next snapshot is published."""
        over, self._over = self._over, []
        return over

    def close(self) -> None:
        """Once nobody reads any more."""
        for closing in (*self.take_over(), *(segment.close for segment in self._segments.values())):
            closing()
        self._segments.clear()
        if self._machine is not None:
            self._machine.close()
            self._machine = None

    def _version(self, number: int, plane: Plane, carrier: Carrier) -> CountedVersion:
        if plane not in self._segments:
            self._segments[plane] = Segment.attach(os.dup(plane.segment.fd), read_only=True)
        return CountedVersion(number, self._segments[plane], plane.description, carrier.included_of(plane))
