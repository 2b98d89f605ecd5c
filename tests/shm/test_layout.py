"""Offsets: nothing overlaps, everything is aligned, whatever the sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InternalError
from engine.shm.layout import HEADER_BYTES, PAGE_BYTES, REQUEST_ID_BYTES, SLOT_FIELDS, Geometry, InstanceWord, LaneWord

geometries = st.builds(
    Geometry,
    lanes=st.integers(1, 20),
    slots=st.integers(1, 40),
    payload_bytes=st.integers(1, 5000),
    reply_bytes=st.integers(1, 4000),
    instance_rows=st.integers(1, 300),
)


def areas(geometry: Geometry) -> list[tuple[int, int]]:
    """Start and size of everything in the segment."""
    slots = range(geometry.slot_count)
    return [
        (0, HEADER_BYTES),
        *((geometry.instance_row_at(row), 8 * InstanceWord.WORDS) for row in range(geometry.instance_rows)),
        *((geometry.lane_row_at(lane), 8 * LaneWord.WORDS) for lane in range(geometry.lanes)),
        *((geometry.table_at(field), 8 * geometry.slot_count) for field in SLOT_FIELDS),
        *((geometry.request_id_at(index), REQUEST_ID_BYTES) for index in slots),
        *((geometry.reply_at(index), max(geometry.reply_bytes, 512)) for index in slots),
        *((geometry.payload_at(index), geometry.payload_bytes) for index in slots),
    ]


@given(geometries)
def test_areas_are_aligned_and_do_not_overlap(geometry: Geometry) -> None:
    spans = sorted(areas(geometry))
    assert all(start % 64 == 0 for start, _ in spans)
    assert all(start + size <= following for (start, size), (following, _) in zip(spans, spans[1:], strict=False))
    last_start, last_size = spans[-1]
    assert last_start + last_size <= geometry.total_bytes
    assert geometry.total_bytes % HEADER_BYTES == 0


@given(geometries)
def test_pages_of_a_lane_hold_nothing_of_anybody_else(geometry: Geometry) -> None:
    lanes = [pages for lane in range(geometry.lanes) for pages in geometry.lane_pages(lane)]
    spans = sorted([*((start, size) for start, size in lanes if size), *geometry.common_pages()])
    assert [start for start, _ in spans] == [0, *(start + size for start, size in spans[:-1])]  # each byte once
    assert sum(size for _, size in spans) == geometry.total_bytes
    assert all(start % PAGE_BYTES == size % PAGE_BYTES == 0 for start, size in spans)
    slots = [(index, at) for index in range(geometry.slot_count) for at in (geometry.payload_at, geometry.reply_at)]
    for lane in range(geometry.lanes):
        foreign = [at(index) for index, at in slots if index // geometry.slots != lane]
        for start, size in geometry.lane_pages(lane):
            assert not any(start <= at < start + size for at in foreign)
            assert start >= geometry.replies_at or not size


@pytest.mark.parametrize("field", ["lanes", "slots", "payload_bytes", "reply_bytes", "instance_rows"])
def test_a_size_of_nothing_is_refused(field: str) -> None:
    sizes = {"lanes": 1, "slots": 1, "payload_bytes": 1, "reply_bytes": 1, "instance_rows": 1, field: 0}
    with pytest.raises(InternalError, match="at least 1"):
        Geometry(**sizes)
