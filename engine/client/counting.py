"""What one deployment has counted, over all processes and all of its versions, as this process sees it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable

from engine.client.attachment import Attachment, Counted
from engine.client.versions import Versions
from engine.core.carrying import after_leaving, total
from engine.observe.counters import Counters
from engine.observe.metrics import LANE_COUNTERS
from engine.shm.board import COUNTED, named, spread

_LANE_COUNTERS = frozenset(LANE_COUNTERS)


class CounterBook:
    """Counts into the lane of the version that is active, and reads all of them together. Thread-safe."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions
        self._lock = threading.Lock()  # around reading, and around what is kept here
        self._gone: list[int] = [0] * COUNTED  # in versions that this process has let go
        self._kept: Counter[str] = Counter()  # while there is no lane to count in

    def count(self, *counts: tuple[str, int]) -> None:
        """Adds to counters of this process's lane, or keeps it for the next lane. KeyError for unknown names."""
        while (attachment := self._versions.active) is not None:
            if attachment.board.add_all(counts):
                return
            if self._versions.active is attachment:
                break
        self._keep(counts)

    def _keep(self, counts: Iterable[tuple[str, int]]) -> None:
        with self._lock:
            for name, n in spread(counts):
                if name not in _LANE_COUNTERS:
                    raise KeyError(name)
                self._kept[name] += n

    def adopt(self, attachment: Attachment) -> None:
        """What was kept is counted in a new lane."""
        with self._lock:
            if attachment.board.add_sums(self._kept.items()):
                self._kept.clear()

    def let_go(self, attachment: Attachment) -> None:
        """Takes a version out. What it has counted is remembered; nothing more is counted in it by this process."""
        with self._lock:
            attachment.board.close()
            seen = self._look()
            leaver = next((k for k, (each, _) in enumerate(seen) if each is attachment), None)
            if leaver is not None:
                self._gone = after_leaving([counted.part for _, counted in seen], leaver, self._gone)
            self._versions.remove(attachment)

    def let_go_in_child(self) -> None:
        """In a forked child: whoever held the lock does not exist here."""
        self._lock = threading.Lock()

    def read(self) -> Counters:
        """Everything that was counted until now."""
        with self._lock:
            seen, active = self._look(), self._versions.active
            lanes, instances = named(total([counted.part for _, counted in seen], self._gone))
            for name, n in self._kept.items():
                lanes[name] += n
        serving = next((counted for each, counted in seen if each is active), None)
        standing = None if active is None else active.standing()
        slots, waiting = ({}, 0) if standing is None else standing
        return Counters(
            lane_totals=lanes,
            instances=[] if serving is None else serving.instances,
            instance_totals=instances,
            device="" if active is None else active.description.device,
            model_version="" if active is None else active.description.model_version,
            slots=slots,
            waiting=waiting,
            tuning=self._versions.tuning,
        )

    def _look(self) -> list[tuple[Attachment, Counted]]:
        """All versions that are mapped, the oldest first. Caller holds the lock.

        Read from the newest on: what a version carries must not be younger than what the ones before it are seen to
        have counted, or the difference would be taken for counts of versions that are gone.
        """
        attachments = sorted(tuple(self._versions.attachments.values()), key=lambda each: -each.version)
        seen = [(each, counted) for each in attachments if (counted := each.counted()) is not None]
        return seen[::-1]
