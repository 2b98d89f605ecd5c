"""An instance in the test's own hands: it takes and answers when the test says so, by the real protocol."""

from __future__ import annotations

import os

import numpy as np

from engine.core.batching import Candidate
from engine.shm.lease import Lease
from engine.shm.taker import Outcome, SlotResult, TakenSlot, Taker
from tests.client.stage import Version


class Hand:
    """Serves one version. Use as a context manager; clients are not told of it, so nobody waits for its death."""

    def __init__(self, version: Version) -> None:
        segment = version.segment
        self._lease = Lease(segment.fd)
        name = version.steward.new_name(os.getpid(), 1)
        self._taker = Taker(segment, name, self._lease, version.doorbell, version.reply_bells)
        self._classes = segment.geometry.reply_bytes // 4

    def __enter__(self) -> Hand:
        return self

    def __exit__(self, *exception: object) -> None:
        self._lease.close()
        del self._taker  # its arrays keep the segment mapped

    @property
    def can_take(self) -> bool:
        """Whether nobody holds the lease just now."""
        if not self._lease.try_acquire():
            return False
        self._lease.release()
        return True

    def take(self, most: int = 1) -> list[TakenSlot]:
        """Leases up to `most` slots, the oldest first."""

        def oldest(found: list[Candidate]) -> list[int]:
            return [each.slot for each in sorted(found, key=lambda each: each.arrival_ns)[:most]]

        return self._taker.take(oldest)

    def answer(self, taken: list[TakenSlot]) -> None:
        """Answers with the item's own first numbers."""
        self._taker.start(taken)
        results = []
        for slot in taken:
            numbers = slot.payload.view(np.float32)[: self._classes]
            answer = np.zeros(self._classes, np.float32)
            answer[: len(numbers)] = numbers
            results.append(SlotResult(slot, Outcome.OK, answer, "", len(taken)))
        self._taker.reply(results)

    def serve(self, most: int = 1) -> int:
        """Takes and answers; how many."""
        taken = self.take(most)
        self.answer(taken)
        return len(taken)
