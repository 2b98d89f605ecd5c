"""What the loop publishes for the status server: plain values that nobody changes any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.clock import NS_PER_S, now_ns, wall_clock_s
from engine.observe.seats import SeatFigures
from engine.shm.machine import MachineSegment
from engine.shm.seat_figures import seat_figures
from engine.supervisor.web.counted import CountedMachine

STALLED_S = 3.0  # the loop publishes twice a second: one that has missed six does nothing else either


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The machine at one moment."""

    at_ns: int
    at_s: float  # the same since 1970, for people
    state: Mapping[str, Any]  # as `status` has it
    counted: CountedMachine | None  # None: those who hold what was counted have not all come back to a successor
    machine: MachineSegment | None  # a mapping of the status server's own; None: nobody has one yet

    @classmethod
    def now(
        cls, state: Mapping[str, Any], counted: CountedMachine | None, machine: MachineSegment | None
    ) -> Snapshot:
        """Of this moment."""
        return cls(now_ns(), wall_clock_s(), state, counted, machine)

    @property
    def age_s(self) -> float:
        return (now_ns() - self.at_ns) / NS_PER_S

    @property
    def is_stalled(self) -> bool:
        """Whether it is so old that the loop must be stuck."""
        return self.age_s > STALLED_S

    def totals(self) -> dict[str, int] | None:
        """What all processes of the machine have counted; None while there is nothing to count in."""
        return None if self.machine is None else self.machine.process_totals()

    def seats(self) -> list[SeatFigures]:
        """What the seats of all pools have counted."""
        return [] if self.machine is None else seat_figures(self.machine)
