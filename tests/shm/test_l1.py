"""The cache of the machine: what was kept is found, by everybody, and nothing else ever is."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.errors import InternalError
from engine.shm import l1, memory
from engine.shm.cache_index import target_of
from engine.shm.cache_layout import RECORD_BYTES, WAYS, ArenaWord, CacheGeometry
from engine.shm.cache_record import RecordKind, place_of
from engine.shm.l1 import L1
from engine.shm.machine import MachineSegment, open_l1
from engine.shm.machine_layout import MachineGeometry
from engine.shm.words import word_view
from tests.shm.cache_rig import AT, MB, CacheRig, cache_rig, in_ms, key_of

SOON = in_ms(3600)


@pytest.fixture
def rig() -> Iterator[CacheRig]:
    with cache_rig() as made:
        yield made


def in_child(work: Callable[[], bool]) -> bool:
    """What `work` returns in a forked child."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of the thread that bounds the test
        pid = os.fork()
    if pid == 0:
        worked = False
        try:
            worked = work()
        finally:
            os._exit(0 if worked else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_what_one_process_keeps_every_process_finds(rig: CacheRig) -> None:
    one, other = rig.enter(), rig.enter()
    assert one.put(key_of(1), b"first", SOON)
    assert other.put(key_of(2), b"second" * 1000, SOON)
    for way in (one, other):
        assert way.get(key_of(1)) == (b"first", SOON, RecordKind.ANSWER)
        assert way.get(key_of(2)) == (b"second" * 1000, SOON, RecordKind.ANSWER)
        assert way.get(key_of(3)) is None
    assert one.statistics().entries == 2
    assert one.statistics() == other.statistics()


@pytest.mark.parametrize("size", [0, 1, 47, 48, 49, 424, 425, 1000, 60_000])
def test_a_value_comes_back_to_the_byte(rig: CacheRig, size: int) -> None:
    way, value = rig.enter(), os.urandom(size)
    assert way.put(key_of(size), value, SOON)
    found = way.get(key_of(size))
    assert found is not None
    assert found.value == value


def test_the_last_value_of_a_key_counts(rig: CacheRig) -> None:
    way = rig.enter()
    for value in (b"old", b"new"):
        way.put(key_of(1), value, SOON)
    found = way.get(key_of(1))
    assert found is not None
    assert found.value == b"new"


def test_kinds_do_not_see_each_other(rig: CacheRig) -> None:
    way = rig.enter()
    way.put(key_of(1), b"bad input", SOON, RecordKind.ERROR)
    assert way.get(key_of(1)) is None
    way.put(key_of(1), b"value", SOON)
    assert way.get(key_of(1)) == (b"value", SOON, RecordKind.ANSWER)
    assert way.get(key_of(1), RecordKind.ERROR) == (b"bad input", SOON, RecordKind.ERROR)


def test_what_has_expired_is_a_miss(rig: CacheRig) -> None:
    way = rig.enter()
    way.put(key_of(1), b"value", in_ms(-0.001))
    assert way.get(key_of(1)) is None


def test_a_huge_value_is_refused_and_harms_nothing(rig: CacheRig) -> None:
    way = rig.enter()
    way.put(key_of(1), b"small", SOON)
    assert not way.put(key_of(2), bytes(way.largest_value_bytes + 1), SOON)
    assert way.get(key_of(2)) is None
    assert way.put(key_of(3), bytes(way.largest_value_bytes), SOON)
    found = way.get(key_of(3))
    assert found is not None
    assert len(found.value) == way.largest_value_bytes
    assert way.get(key_of(1)) is not None


def test_a_key_of_another_length_is_our_bug(rig: CacheRig) -> None:
    with pytest.raises(InternalError):
        rig.enter().put(b"short", b"", SOON)


def test_no_more_writers_than_arenas_and_the_next_one_takes_over(rig: CacheRig) -> None:
    ways = [rig.enter() for _ in range(3)]
    assert [way.put(key_of(k), b"value", SOON) for k, way in enumerate(ways)] == [True, True, False]
    assert ways[2].get(key_of(0)) is not None
    ways[0].close()
    later = rig.enter()
    assert later.put(key_of(4), b"value", SOON)
    assert later.get(key_of(0)) is not None  # the new owner goes on, it does not begin anew
    assert ways[0].get(key_of(0)) is None
    assert not ways[0].put(key_of(5), b"value", SOON)


def test_an_arena_can_be_claimed_before_there_is_anything_to_keep(rig: CacheRig) -> None:
    ways = [rig.enter() for _ in range(3)]
    before = os.fstat(rig.fd).st_blocks
    assert [way.claim() for way in ways] == [True, True, False]
    after = os.fstat(rig.fd).st_blocks
    assert (after - before) * 512 == 2 * CacheGeometry.fitting(MB, 2).arena_bytes
    assert ways[1].put(key_of(1), b"value", SOON)
    assert os.fstat(rig.fd).st_blocks == after
    ways[0].close()
    assert not ways[0].claim()


def test_a_full_cache_forgets_the_oldest(rig: CacheRig) -> None:
    way = rig.enter()
    fits = CacheGeometry.fitting(MB, 2).arena_bytes // 256
    count = 3 * fits
    for k in range(count):
        assert way.put(key_of(k), k.to_bytes(4, "little") * 40, SOON)
    found = [k for k in range(count) if way.get(key_of(k)) is not None]
    assert len(found) > 0.98 * fits
    assert min(found) == count - fits
    for k in found:
        record = way.get(key_of(k))
        assert record is not None
        assert record.value == k.to_bytes(4, "little") * 40
    statistics = way.statistics()
    assert statistics.entries == fits
    assert rig.counted["l1.evicted"] == count - fits
    assert statistics.bytes == 256 * fits
    assert rig.counted["l1.torn"] == 0


def test_records_of_all_sizes_go_round_the_end_of_an_arena(rig: CacheRig) -> None:
    way = rig.enter()
    last: dict[int, bytes] = {}
    for k in range(3000):
        last[k] = bytes([k % 251]) * (k * 7919 % 9000)
        assert way.put(key_of(k), last[k], SOON)
        recent = way.get(key_of(max(0, k - 10)))
        assert recent is not None
        assert recent.value == last[max(0, k - 10)]
    found = [k for k in last if (record := way.get(key_of(k))) is not None and record.value == last[k]]
    assert way.statistics().entries - len(found) <= 2  # words of the index that went to others
    assert rig.counted["l1.torn"] == 0


def test_a_full_set_loses_one_entry_and_what_is_gone_makes_room() -> None:
    with cache_rig(size=300 * 1024, writers=1) as rig:
        way = rig.enter()
        sets = CacheGeometry.fitting(300 * 1024, 1).sets
        keys = [k.to_bytes(32, "little") for k in _places_in_set(3, sets, WAYS + 1)]
        for key in keys[:WAYS]:
            way.put(key, b"value", SOON)
        assert all(way.get(key) for key in keys[:WAYS])
        way.put(keys[WAYS], b"value", SOON)
        assert way.get(keys[WAYS]) is not None
        assert sum(way.get(key) is None for key in keys) == 1


def test_an_expired_entry_of_a_full_set_goes_first() -> None:
    with cache_rig(size=300 * 1024, writers=1) as rig:
        way = rig.enter()
        sets = CacheGeometry.fitting(300 * 1024, 1).sets
        keys = [k.to_bytes(32, "little") for k in _places_in_set(3, sets, WAYS + 1)]
        for k, key in enumerate(keys):
            way.put(key, b"value", in_ms(-1) if k == 5 else SOON)
        assert [k for k, key in enumerate(keys) if way.get(key) is None] == [5]


def _places_in_set(wanted: int, sets: int, count: int) -> list[int]:
    """Keys, as numbers, whose answers belong to one set by different tags."""
    found: list[int] = []
    tag = 0
    while len(found) < count:
        tag += 1
        base = place_of((tag << 40).to_bytes(32, "little"), RecordKind.ANSWER) >> 40 << 40
        place = base + (wanted - base) % sets
        found.append(place_of(place.to_bytes(32, "little"), RecordKind.ANSWER))  # its own inverse
    return found


@pytest.mark.parametrize("value", [b"some value of a few bytes", os.urandom(600)], ids=["small", "large"])
def test_a_flip_of_any_byte_of_a_record_is_a_miss(rig: CacheRig, value: bytes) -> None:
    way = rig.enter()
    way.put(key_of(1), value, SOON)
    start = CacheGeometry.fitting(MB, 2).arena_at(0)
    for at in range(start, start + RECORD_BYTES + len(value)):
        for flipped in (0x01, 0x80, 0xFF):
            rig.area[at] ^= flipped
            assert way.get(key_of(1)) is None, at - start
            rig.area[at] ^= flipped
    assert way.get(key_of(1)) is not None
    assert rig.counted["l1.torn"] > len(value)


def test_a_flip_of_any_byte_of_index_or_row_is_a_miss_or_the_right_answer(rig: CacheRig) -> None:
    way = rig.enter()
    geometry = CacheGeometry.fitting(MB, 2)
    for k in range(20):
        way.put(key_of(k), b"%d" % k, SOON)
    missed = 0
    before = bytes(rig.area[geometry.rows_at : geometry.arenas_at])
    for at in range(geometry.rows_at, geometry.arenas_at):
        if before[at - geometry.rows_at]:
            rig.area[at] ^= 0xFF
            for k in range(20):
                found = way.get(key_of(k))
                missed += found is None
                assert found is None or found.value == b"%d" % k
            rig.area[at] ^= 0xFF
    assert missed
    assert all(way.get(key_of(k)) for k in range(20))


@pytest.mark.parametrize("word", range(4))
def test_a_row_that_makes_no_sense_is_begun_anew(rig: CacheRig, word: int) -> None:
    first = rig.enter()
    first.put(key_of(1), b"value", SOON)
    first.close()
    geometry = CacheGeometry.fitting(MB, 2)
    word_view(rig.area, geometry.rows_at, ArenaWord.WORDS)[word] = (1 << 63) + 7
    way = rig.enter()
    for k in range(5000):
        way.put(key_of(k), b"value" * 40, SOON)
    assert way.get(key_of(4999)) is not None
    assert way.statistics().entries >= 0


def test_any_word_may_stand_in_the_index(rig: CacheRig) -> None:
    geometry = CacheGeometry.fitting(MB, 2)
    way = rig.enter()
    place = place_of(key_of(1), RecordKind.ANSWER)
    words = word_view(rig.area, geometry.index_at, geometry.sets * WAYS)
    for low in (0, 1, (1 << 40) - 1, 2 << 28, 1 << 28, (1 << 28) - 1 | 1 << 28, 4095 << 28):
        words[place % geometry.sets * WAYS] = place >> 40 << 40 | low
        assert way.get(key_of(1)) is None
    assert target_of(0) == (-1, 0)


def test_a_forked_child_neither_reads_nor_writes(rig: CacheRig) -> None:
    way = rig.enter()
    way.put(key_of(1), b"value", SOON)
    assert in_child(lambda: way.get(key_of(1)) is None and not way.put(key_of(2), b"value", SOON))
    assert way.put(key_of(3), b"value", SOON)
    other = rig.enter()
    assert other.put(key_of(4), b"value", SOON)
    assert not rig.enter().put(key_of(5), b"value", SOON)  # both arenas have their owners still


def test_a_child_with_a_way_of_its_own_leaves_its_arena_to_the_next(rig: CacheRig) -> None:
    def work() -> bool:
        way = L1(rig.fd, AT, rig.area, lambda name, n: None)
        if way.put(key_of(1), b"value", SOON):
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    assert not in_child(work)
    way = rig.enter()
    assert way.get(key_of(1)) is not None
    assert way.put(key_of(2), b"value", SOON)
    assert way.statistics().entries == 2


def test_too_little_memory_for_an_arena_only_reads(
    rig: CacheRig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    writer, reader = rig.enter(), rig.enter()
    writer.put(key_of(1), b"value", SOON)
    (tmp_path / "meminfo").write_text("MemAvailable: 1 kB\n")
    monkeypatch.setattr(memory, "PROC", tmp_path)
    assert not reader.put(key_of(2), b"value", SOON)
    assert reader.lacks_memory
    assert reader.get(key_of(1)) is not None
    monkeypatch.undo()
    monkeypatch.setattr(l1, "_CLAIM_AGAIN_NS", 0)
    reader._claim_at_ns = 0
    assert reader.put(key_of(2), b"value", SOON)
    assert not reader.lacks_memory


def test_too_little_memory_for_the_index_is_no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemAvailable: 1 kB\n")
    monkeypatch.setattr(memory, "PROC", tmp_path)
    with cache_rig() as rig:
        assert not rig.made
        with pytest.raises(InternalError):
            rig.enter()


def test_a_size_that_has_no_room_for_an_arena_is_no_cache() -> None:
    with cache_rig(size=8192) as rig:
        assert not rig.made


@pytest.mark.parametrize(("megabytes", "writers"), [(1, 1), (1, 64), (16, 4), (16, 64), (65_536, 64), (1, 10_000)])
def test_geometry_fits_into_its_memory(megabytes: int, writers: int) -> None:
    geometry = CacheGeometry.fitting(megabytes * MB, writers)
    assert 1 <= geometry.arenas <= writers
    assert geometry.arena_at(geometry.arenas - 1) + geometry.arena_bytes <= megabytes * MB
    assert geometry.arenas * geometry.arena_bytes > 0.9 * megabytes * MB
    assert geometry.index_at >= geometry.rows_at + 64 * geometry.arenas


def test_the_machine_segment_comes_with_a_cache() -> None:
    machine = MachineSegment.create(MachineGeometry(rows=4, l1_bytes=MB, l1_writers=3))
    other = machine.again()
    ways = [open_l1(each, lambda name, n: None) for each in (machine, other)]
    assert None not in ways
    one, two = (way for way in ways if way is not None)
    assert one.put(key_of(1), b"value", SOON)
    assert two.get(key_of(1)) is not None
    for way in (one, two):
        way.close()
    other.close()
    machine.close()


def test_a_machine_segment_without_a_cache_has_none() -> None:
    machine = MachineSegment.create(MachineGeometry(rows=4, l1_bytes=0))
    assert open_l1(machine, lambda name, n: None) is None
    machine.close()
