"""The choice over whole tables and the plain rule, one request at a time, find the same batches."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.core.batching import BatchPolicy, Candidate, choose
from engine.shm.layout import Geometry
from engine.shm.ready import ReadySlots, SlotColumns
from engine.shm.segment import Segment
from engine.shm.words import LEASED, READY, pack

SLOTS = 1024
AGING_NS = 1_000
NOW_NS = 5_000


class Table:
    """The slots of a segment, written as their owners would."""

    def __init__(self, segment: Segment) -> None:
        self.columns = SlotColumns(segment)
        self._tables = segment.tables

    def fill(self, queue: list[Candidate]) -> None:
        """These are READY. Of all others the fields say anything, as they do once they have been used."""
        for slot in range(SLOTS):
            self._tables.word[slot] = pack(slot, 0, 0) if slot % 3 else pack(slot, 7, LEASED)
            self._tables.level[slot], self._tables.kind[slot], self._tables.isolate[slot] = slot % 3, slot % 2, 1
            self._tables.arrival[slot] = 0
        for candidate in queue:
            slot = candidate.slot
            self._tables.word[slot] = pack(9, 0, READY)
            self._tables.level[slot] = candidate.level + 1
            self._tables.arrival[slot] = candidate.arrival_ns
            self._tables.kind[slot] = candidate.key
            self._tables.isolate[slot] = int(candidate.isolate)

    def compare(self, queue: list[Candidate], policy: BatchPolicy, now_ns: int) -> None:
        self.fill(queue)
        ready = ReadySlots(self.columns)
        assert ready.slots.tolist() == [candidate.slot for candidate in queue]
        assert ready.choose(policy, now_ns) == choose(queue, policy, now_ns=now_ns)


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    segment = Segment.create(Geometry(lanes=32, slots=SLOTS // 32, payload_bytes=64, reply_bytes=12))
    yield Table(segment)
    segment.close()


slots = st.sets(st.integers(0, SLOTS - 1), max_size=40).map(sorted)
fields = st.tuples(
    st.sampled_from([-1, 0, 1]),
    st.integers(0, NOW_NS + 10) | st.sampled_from([NOW_NS - AGING_NS, NOW_NS - 2 * AGING_NS, NOW_NS]),
    st.sampled_from([0, 0, 0, 1]),
    st.sampled_from([False] * 7 + [True]),
)


@settings(max_examples=500, deadline=None)
@given(slots=slots, data=st.data(), max_batch=st.integers(1, 48), now_ns=st.sampled_from([0, 500, AGING_NS, NOW_NS]))
def test_a_short_queue(table: Table, slots: list[int], data: st.DataObject, max_batch: int, now_ns: int) -> None:
    queue = [Candidate(slot, *data.draw(fields)) for slot in slots]
    table.compare(queue, BatchPolicy(max_batch, AGING_NS), now_ns)


@pytest.mark.parametrize("levels", [(0,), (-1, 0, 1), (0, 0, 0, 1)])
@pytest.mark.parametrize("span_ns", [3, 100, 5 * AGING_NS])  # of arrivals: with many ties, with some, over all levels
@pytest.mark.parametrize("max_batch", [1, 8, 16, 17, 40, 200, SLOTS])
def test_a_long_queue(table: Table, levels: tuple[int, ...], span_ns: int, max_batch: int) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    random_ = random.Random(seed)
    for size in (127, 129, 700, SLOTS):
        boot_ns, isolated, other_kind = random_.choice((0, 10**15)), random_.random() / 50, random_.choice((0, 0.3))
        queue = [
            Candidate(
                slot,
                random_.choice(levels),
                boot_ns + NOW_NS - random_.randrange(span_ns),
                int(random_.random() < other_kind),
                random_.random() < isolated,
            )
            for slot in sorted(random_.sample(range(SLOTS), size))
        ]
        table.compare(queue, BatchPolicy(max_batch, AGING_NS), boot_ns + NOW_NS)
