"""The instance: wake, take a batch under the lease, launch it, wait for the device, reply."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.model import computing, replying, taking
from tests.model.machine import Machine
from tests.model.state import State
from tests.model.steps import Step

Place = Callable[[Machine, State, int], Iterator[Step]]


def steps(m: Machine, s: State, index: int) -> Iterator[Step]:
    """Everything this instance may do next."""
    me = s.instances[index]
    return PLACES[me.at](m, s, index) if me.alive else iter(())


PLACES: dict[str, Place] = {
    "sleep": taking.sleep,
    "peek": taking.peek,
    "lease": taking.lease,
    "look": taking.look,
    "mark": taking.mark,
    "sign": taking.sign,
    "release": taking.release,
    "ring": taking.ring,
    "drain": taking.drain,
    "drain_to_take": taking.drain_to_take,
    "start_early": computing.start_early,
    "choose": computing.choose,
    "sort": computing.sort,
    "launch": computing.launch,
    "start_late": computing.start_late,
    "compute": computing.compute,
    "area": replying.area,
    "word": replying.word,
    "bell": replying.bell,
}
