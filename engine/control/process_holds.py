"""What processes hold of the machine as a whole, apart from any version: memory that outlives whoever made it.

One thing of each kind. Whoever says hello offers what it holds, whoever is welcomed is offered what there is; so a kind
lives on for as long as any process has it, and a supervisor that was killed finds it with its successor's first peer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.errors import ProtocolError

MOST_KINDS = 16
MOST_FDS_A_KIND = 8
_LONGEST_KIND = 32

TOTALS = "totals"  # what versions that are gone have counted; written by the supervisor alone
MACHINE = "machine"  # what processes count apart from versions, and the L1 cache; see `engine/shm/machine.py`


@dataclass(frozen=True, slots=True)
class ProcessHold:
    """One thing. `number`: of two things of one kind the one with the higher number is the newer."""

    kind: str
    number: int
    fds: tuple[int, ...]


class ProcessHolds:
    """Owns the descriptors of what it keeps. Not thread-safe."""

    def __init__(self) -> None:
        self._by_kind: dict[str, ProcessHold] = {}

    def get(self, kind: str) -> ProcessHold | None:
        """Its descriptors stay ours, and are closed once there is a newer one."""
        return self._by_kind.get(kind)

    def keep(self, hold: ProcessHold) -> None:
        """Owns its descriptors: kept in place of an older one, or closed."""
        before = self._by_kind.get(hold.kind)
        left = hold
        if before is None or before.number < hold.number:
            self._by_kind[hold.kind] = hold
            left = before or ProcessHold(hold.kind, 0, ())
        for fd in left.fds:
            os.close(fd)

    def receive(self, offered: list[Any], take_fds: Callable[[int], list[int]]) -> None:
        """Keeps what a message offers. `take_fds` gives the next so many descriptors of it.

        Raises ProtocolError for what is no offer; then nothing of it is kept.
        """
        labels = [_label(value) for value in offered[: MOST_KINDS + 1]]
        kinds = self._by_kind.keys() | {kind for kind, _, _ in labels}
        if len(offered) > MOST_KINDS or len(kinds) > MOST_KINDS:  # all of them must fit into one message
            raise ProtocolError(f"more than {MOST_KINDS} kinds of things are offered")
        for kind, number, count in labels:
            self.keep(ProcessHold(kind, number, tuple(take_fds(count))))

    def offer(self) -> tuple[list[dict[str, Any]], list[int]]:
        """For a message: what there is, and the descriptors in the same order, which stay ours."""
        holds = list(self._by_kind.values())
        labels = [{"kind": each.kind, "number": each.number, "fds": len(each.fds)} for each in holds]
        return labels, [fd for each in holds for fd in each.fds]

    def close(self) -> None:
        """Lets go of everything. Idempotent."""
        while self._by_kind:
            for fd in self._by_kind.popitem()[1].fds:
                os.close(fd)


def _label(value: Any) -> tuple[str, int, int]:
    """Kind, number and count of descriptors. Raises ProtocolError."""
    if isinstance(value, dict) and value.keys() == {"kind", "number", "fds"}:
        kind, number, count = value["kind"], value["number"], value["fds"]
        is_sound = type(kind) is str and type(number) is int and type(count) is int
        if is_sound and 0 < len(kind) <= _LONGEST_KIND and number >= 0 and 0 < count <= MOST_FDS_A_KIND:
            return kind, number, count
    raise ProtocolError(f"not something a process can hold: {value!r:.200}")
