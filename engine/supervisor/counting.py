"""Carries what the versions of a deployment have counted from one segment to the next.

The only writer of `Header.CARRIED`. Every look starts from the counters themselves, so that it may be repeated at any
moment, by a successor too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from engine.core.carrying import Part, after_leaving, to_carry
from engine.errors import ProtocolError
from engine.shm.board import COUNTED, part_of
from engine.supervisor.plane import Plane

REMEMBERED_SEGMENTS = 64  # closed ones; a peer that stays away for so many swaps finds its version gone


class Carrier:
    """One deployment id. Outlives the deployment: one of the same id goes on where the last one ended."""

    def __init__(self) -> None:
        self._gone: list[int] = [0] * COUNTED  # counted in planes that are closed
        self._included: dict[int, list[int]] = {}  # inode of a closed segment -> what of it is in `_gone`
        self._youngest_gone = 0  # number of the youngest version that is closed

    def begin(self) -> None:
        """Versions are numbered from 1 again."""
        self._youngest_gone = 0

    def carry(self, planes: Mapping[int, Plane]) -> None:
        """Stores in open planes, by number of their version and the oldest first, what those before have counted.

        Not in one that is older than one that is gone: what is gone is then not only what came before it.
        """
        parts = [self._part(plane) for plane in planes.values()]
        for (number, plane), figures in zip(planes.items(), to_carry(parts, self._gone)):
            if number > self._youngest_gone:
                plane.steward.carry(figures)

    def leave(self, planes: Mapping[int, Plane], leaver: int) -> None:
        """The plane of version `leaver` is about to be closed; nobody counts in it any more."""
        parts = [self._part(plane) for plane in planes.values()]
        self._gone = after_leaving(parts, list(planes).index(leaver), self._gone)
        self._youngest_gone = max(self._youngest_gone, leaver)
        self._included[_inode(planes[leaver])] = list(part_of(planes[leaver].segment)[0].own)
        if len(self._included) > REMEMBERED_SEGMENTS:
            del self._included[next(iter(self._included))]
        self.carry({number: plane for number, plane in planes.items() if number != leaver})

    @property
    def gone(self) -> Sequence[int]:
        """Counted in planes that are closed."""
        return self._gone

    def included_of(self, plane: Plane) -> tuple[int, ...] | None:
        """What of an open plane is among the gone already: it was closed once before. None: nothing."""
        included = self._included.get(_inode(plane))
        return None if included is None else tuple(included)

    @property
    def knows(self) -> bool:
        """Whether there is anything that a successor has to know."""
        return bool(self._included or any(self._gone))

    def to_json(self) -> dict[str, Any]:
        """What a successor has to know."""
        included = [[inode, *figures] for inode, figures in self._included.items()]
        return {"gone": self._gone, "included": included, "youngest": self._youngest_gone}

    def recall(self, value: Any) -> None:
        """What `to_json` of a predecessor made, beside what has been counted since. Raises ProtocolError."""
        try:
            gone, included, youngest = value["gone"], value["included"], value["youngest"]
        except (KeyError, TypeError) as error:
            raise ProtocolError(f"not what a deployment has counted: {value!r:.200}") from error
        if not (_are_numbers(gone, COUNTED) and isinstance(included, list) and type(youngest) is int):
            raise ProtocolError("not the counters of this version")
        if not all(_are_numbers(row, COUNTED + 1) for row in included):
            raise ProtocolError("not the counters of segments of this version")
        # Where segments have told it already it stands on both sides, so that the larger figure is the whole.
        self._gone = [max(pair) for pair in zip(self._gone, gone, strict=True)]
        self._included = {**{row[0]: row[1:] for row in included}, **self._included}
        self._youngest_gone = max(self._youngest_gone, youngest)

    def _part(self, plane: Plane) -> Part:
        """Without what is counted among the gone: peers of a predecessor may offer a version that was closed already,
        one after the other."""
        part = part_of(plane.segment)[0]
        included = self._included.get(_inode(plane))
        return part if included is None else Part(part.carried, [a - b for a, b in zip(part.own, included)])


def _inode(plane: Plane) -> int:
    """Tells one segment from all others, whichever descriptor it came by."""
    return os.fstat(plane.segment.fd).st_ino


def _are_numbers(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(type(each) is int for each in values)
