"""Reads the rows of all seats in the machine segment: for whoever shows them, whatever their writers do meanwhile."""

from __future__ import annotations

from engine.observe.metrics import SEAT_COUNTERS, SEAT_GAUGES
from engine.observe.seats import SeatFigures, together
from engine.shm.layout import device_name
from engine.shm.machine import MachineSegment
from engine.shm.machine_layout import SEAT_ROWS, SeatWord

_LOOKS = 100  # at a row that is given to another seat while it is read, which takes its writer microseconds


def seat_figures(machine: MachineSegment) -> list[SeatFigures]:
    """One for each seat on each device that was ever taken, in order."""
    rows = (_row(machine, k) for k in range(SEAT_ROWS))
    return together(row for row in rows if row is not None)


def _row(machine: MachineSegment, k: int) -> SeatFigures | None:
    """None: never used, or about to be used by another seat."""
    shared = machine.seat_row(k)
    for _ in range(_LOOKS):
        says = shared[SeatWord.SAYS]
        if not says or says % 2:
            return None
        words = shared.tolist()
        if shared[SeatWord.SAYS] == says:
            break
    else:
        return None
    counters = dict(zip(SEAT_COUNTERS, words[SeatWord.COUNTERS : SeatWord.GAUGES], strict=False))
    is_taken = machine.has_owner(machine.geometry.seat_at(k))
    gauges = words[SeatWord.GAUGES :] if is_taken else [0] * len(SEAT_GAUGES)
    name = b"".join(word.to_bytes(8, "little") for word in words[SeatWord.DEPLOYMENT : SeatWord.COUNTERS])
    return SeatFigures(
        deployment=name.rstrip(b"\0").decode(errors="replace"),
        seat=words[SeatWord.SEAT],
        device=device_name(words[SeatWord.DEVICE]),
        counters=counters,
        gauges=dict(zip(SEAT_GAUGES, gauges, strict=False)),
    )
