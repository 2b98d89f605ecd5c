"""An instance in the test's own hands: it takes and answers when the test says so, by the real protocol."""

from __future__ import annotations

import os

import numpy as np

from engine.shm.batch import Batch, BatchReply
from engine.shm.lease import Lease
from engine.shm.ready import ReadySlots
from engine.shm.records import Outcome
from engine.shm.taker import Taker
from tests.client.stage import Version


class Hand:
    """Serves one version. Use as a context manager; clients are not told of it, so nobody waits for its death."""

    def __init__(self, version: Version) -> None:
        segment = version.segment
        self._lease = Lease(segment.fd)
        name = version.steward.new_name(os.getpid(), 1)
        self._taker = Taker(segment, name, self._lease, version.doorbell, version.reply_bells)
        self._arrivals = segment.tables.arrival
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

    def take(self, most: int = 1) -> Batch:
        """Leases up to `most` slots, the oldest first."""

        def oldest(ready: ReadySlots) -> list[int]:
            found: list[int] = ready.slots.tolist()
            return sorted(found, key=self._arrivals.__getitem__)[:most]

        return self._taker.take(oldest)

    def answer(self, taken: Batch) -> None:
        """Answers with the item's own first numbers."""
        self._taker.start(taken)
        answers = np.zeros((len(taken), self._classes), np.float32)
        for row, samples in zip(answers, taken.payloads().samples):
            numbers = samples.view(np.float32)[: self._classes]
            row[: len(numbers)] = numbers
        self._taker.reply([BatchReply(taken, Outcome.OK, answers, "", len(taken))])

    def serve(self, most: int = 1) -> int:
        """Takes and answers; how many."""
        taken = self.take(most)
        self.answer(taken)
        return len(taken)
