"""Segments: made, sent, refused, closed."""

from __future__ import annotations

import fcntl
import os

import numpy as np
import pytest

from engine.errors import OutOfMemory, ProtocolError
from engine.shm.layout import Geometry, Header
from engine.shm.segment import Segment
from tests.shm.rig import python_child, says

GEOMETRY = Geometry(lanes=2, slots=4, payload_bytes=100, reply_bytes=12, instance_rows=4)

PEER = """
import sys
from engine.shm.segment import Segment
segment = Segment.attach(int(sys.argv[1]))
segment.tables.gain[5] = 0.25
segment.array[segment.geometry.payload_at(7)] = 99
print(segment.geometry.slots, segment.closing, flush=True)
sys.stdin.readline()
print(segment.closing, flush=True)
segment.close()
"""


def copy_of(segment: Segment, *, header_word: int | None = None, size: int | None = None, sealed: bool = True) -> int:
    """A memory file with the same bytes, one of them perhaps spoilt."""
    fd = os.memfd_create("copy", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    data = bytearray(segment.bytes)
    if header_word is not None:
        data[8 * header_word] ^= 0x10
    os.write(fd, data[:size])
    if sealed:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


def test_another_process_sees_the_same_bytes() -> None:
    segment = Segment.create(GEOMETRY)
    with python_child(PEER, [segment.fd]) as child:
        assert says(child) == "4 False"
        assert segment.tables.gain[5] == 0.25
        assert segment.array[GEOMETRY.payload_at(7)] == 99
        segment.set_closing()
        child.stdin.write(b"\n")  # type: ignore[union-attr]
        child.stdin.flush()  # type: ignore[union-attr]
        assert says(child) == "True"
    segment.close()


def allocated_bytes(segment: Segment) -> int:
    return os.fstat(segment.fd).st_blocks * 512


def test_all_pages_are_there_and_cannot_be_taken_away() -> None:
    segment = Segment.create(GEOMETRY, keeps_pages=True)
    assert allocated_bytes(segment) == GEOMETRY.total_bytes
    segment.free_lane(0)
    segment.allocate_lane(0)
    assert allocated_bytes(segment) == GEOMETRY.total_bytes
    for size in (GEOMETRY.total_bytes - 4096, GEOMETRY.total_bytes + 4096):
        with pytest.raises(PermissionError):
            os.ftruncate(segment.fd, size)
    segment.close()


@pytest.mark.parametrize(
    "geometry",
    [
        GEOMETRY,  # no lane has a page of its own
        Geometry(lanes=3, slots=5, payload_bytes=100_000, reply_bytes=12, instance_rows=4),
        Geometry(lanes=5, slots=3, payload_bytes=1000, reply_bytes=5000, instance_rows=4),
    ],
)
def test_a_lane_costs_memory_while_somebody_has_it(geometry: Geometry) -> None:
    segment = Segment.create(geometry)
    common = sum(size for _, size in geometry.common_pages())
    lane = sum(size for _, size in geometry.lane_pages(1))
    for _ in range(2):
        assert allocated_bytes(segment) == common
        for _ in range(2):
            segment.allocate_lane(1)
            assert allocated_bytes(segment) == common + lane
        for index in range(geometry.slots, 2 * geometry.slots):  # its own bytes, to the last, need no more pages
            segment.array[geometry.payload_at(index) :][: geometry.payload_bytes] = 1
            segment.array[geometry.reply_at(index) :][: geometry.reply_bytes] = 1
        assert allocated_bytes(segment) == common + lane
        for _ in range(2):
            segment.free_lane(1)
            assert allocated_bytes(segment) == common
    segment.close()


def test_a_lane_that_goes_takes_nothing_of_its_neighbours_with_it() -> None:
    geometry = Geometry(lanes=3, slots=3, payload_bytes=5000, reply_bytes=3000, instance_rows=4)
    segment = Segment.create(geometry)
    for lane in range(3):
        segment.allocate_lane(lane)
    segment.array[geometry.table_at("word") :] = 7
    segment.free_lane(1)
    own = [range(start, start + size) for start, size in geometry.lane_pages(1)]
    assert all(own)
    kept = np.full(geometry.total_bytes, True)
    for pages in own:
        kept[pages.start : pages.stop] = False
    values = segment.array
    assert (values[kept][geometry.table_at("word") :] == 7).all() and not values[~kept].any()
    segment.close()


def test_a_lane_without_memory_is_refused_with_the_figures() -> None:
    """The file has room for it, the machine has not."""
    geometry = Geometry(lanes=2, slots=1000, payload_bytes=1 << 33, reply_bytes=4)
    fd = os.memfd_create("large", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, geometry.total_bytes)
    segment = Segment(fd, geometry)
    with pytest.raises(OutOfMemory, match=r"lane 1 of a shared segment needs 8\d{6}\.\d MB .*MB are available"):
        segment.allocate_lane(1)
    assert allocated_bytes(segment) == 4096  # its header, which was read
    segment.close()


def test_a_lane_that_the_kernel_refuses_has_no_page() -> None:
    """The file ends within the payloads of the lane, and is sealed against growing."""
    geometry = Geometry(lanes=1, slots=4, payload_bytes=8192, reply_bytes=8192)
    fd = os.memfd_create("short", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, geometry.total_bytes)
    segment = Segment(fd, geometry)
    os.ftruncate(fd, geometry.payload_at(1))
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
    with pytest.raises(OutOfMemory, match="lane 0 of a shared segment needs 0.1 MB: .*not permitted"):
        segment.allocate_lane(0)
    assert allocated_bytes(segment) == 4096  # its header, which was read
    segment.close()


def test_too_little_memory_is_refused_with_the_figures() -> None:
    with pytest.raises(OutOfMemory, match=r"needs 1\d{9,}\.\d MB .*MB are available: lower lane_slots or workers"):
        Segment.create(Geometry(lanes=1000, slots=1000, payload_bytes=1 << 30, reply_bytes=4))


def test_attach_reads_the_sizes_from_the_header() -> None:
    segment = Segment.create(GEOMETRY)
    other = Segment.attach(os.dup(segment.fd))
    assert other.geometry == GEOMETRY
    other.close()
    segment.close()


@pytest.mark.parametrize(
    ("header_word", "text"),
    [
        (Header.MAGIC, "not a segment"),
        (Header.VERSION, "layout"),
        (Header.SLOTS, "does not fit its header"),
        (Header.TOTAL_BYTES, "does not fit its header"),
    ],
)
def test_a_header_that_is_wrong_is_refused(header_word: int, text: str) -> None:
    segment = Segment.create(GEOMETRY)
    fd = copy_of(segment, header_word=header_word)
    with pytest.raises(ProtocolError, match=text):
        Segment.attach(fd)
    with pytest.raises(OSError):
        os.fstat(fd)  # attach owns the descriptor, even if it raises
    segment.close()


def test_a_file_that_could_shrink_or_is_cut_is_refused() -> None:
    segment = Segment.create(GEOMETRY)
    with pytest.raises(ProtocolError, match="sealed"):
        Segment.attach(copy_of(segment, sealed=False))
    for size in (4096, 63, 0):
        with pytest.raises(ProtocolError):
            Segment.attach(copy_of(segment, size=size))
    segment.close()


def test_a_view_outlives_the_segment() -> None:
    """Page-locked memory and payloads in use are held by whoever uses them."""
    segment = Segment.create(GEOMETRY)
    whole = segment.array
    states = np.frombuffer(segment.tables.word, np.uint8)[::8]
    assert whole.shape == (GEOMETRY.total_bytes,) and whole.dtype == np.uint8 and whole.flags.writeable
    fd = segment.fd
    segment.close()
    segment.close()
    whole[GEOMETRY.payload_at(0)] = 5
    assert states.sum() == 0
    assert whole[GEOMETRY.payload_at(0)] == 5
    with pytest.raises(OSError):
        os.fstat(fd)


def test_a_closed_segment_is_an_error_not_a_crash() -> None:
    segment = Segment.create(GEOMETRY)
    row = segment.lane_row(0)
    segment.close()
    with pytest.raises(ValueError, match="released"):
        segment.tables.word[0] = 1
    with pytest.raises(ValueError, match="released"):
        row[0] = 1
    with pytest.raises(ValueError, match="released"):
        segment.set_closing()
