"""What the seats of all pools have counted, as whoever looks sees it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from engine.observe.metrics import SEAT_COUNTERS, SEAT_GAUGES


@dataclass(frozen=True, slots=True)
class SeatFigures:
    """One seat on one device, over all instances that ever sat there; gauges of the one that does now."""

    deployment: str
    seat: int
    device: str  # "cpu", "cuda:0"
    counters: Mapping[str, int]
    gauges: Mapping[str, int]


def together(rows: Iterable[SeatFigures]) -> list[SeatFigures]:
    """One for each seat, in order: while a version follows another one, two instances have the same seat."""
    found: dict[tuple[str, int, str], SeatFigures] = {}
    for row in rows:
        key = (row.deployment, row.seat, row.device)
        other = found.get(key)
        found[key] = row if other is None else _sum(other, row)
    return [found[key] for key in sorted(found)]


def _sum(one: SeatFigures, other: SeatFigures) -> SeatFigures:
    counters = {name: one.counters[name] + other.counters[name] for name in SEAT_COUNTERS}
    # Two of one seat have one device, and both tell of the same memory.
    gauges = {name: max(one.gauges[name], other.gauges[name]) for name in SEAT_GAUGES}
    gauges["working"] = one.gauges["working"] + other.gauges["working"]
    return SeatFigures(one.deployment, one.seat, one.device, counters, gauges)
