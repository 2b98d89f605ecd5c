"""The last requests of a process: whole records or none, whoever writes, dies or reads at that moment."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator

import pytest

from engine.crash_points import VARIABLE
from engine.observe.answered import UNKNOWN_NS, AnsweredRequest, TraceParent
from engine.observe.recent_requests import SLOW_WITHIN_NS, recent_requests
from engine.shm.machine import MachineSegment
from engine.shm.machine_layout import (
    ERROR_PLACES,
    LAST_PLACES,
    PLACE_BYTES,
    REQUEST_RING_BYTES,
    SLOW_PLACES,
    SUPERVISOR_ROW,
    MachineGeometry,
)
from engine.shm.layout import PAGE_BYTES
from engine.shm.process_row import ProcessRow
from engine.shm.request_record import PAYLOAD_BYTES, pack_request, unpack_request
from engine.shm.words import WORD_BYTES
from tests.shm.rig import ROOT

TRACE = TraceParent(bytes(range(16)), bytes(range(1, 9)), True)
MINUTE_NS = 60 * 10**9

# Writes that many requests, each of which is the same number in every field; says so at each hundred.
WRITER = """
import os, sys
from tests.shm.test_request_ring import numbered
from engine.shm.machine import MachineSegment
from engine.shm.process_row import ProcessRow
machine = MachineSegment.attach(int(sys.argv[1]))
row = ProcessRow.private()
assert row.move_to(machine)
for k in range(int(sys.argv[2])):
    row.requests.write(numbered(k))
"""


def answered(number: int, *, status: int = 200, took_ns: int = 1000) -> AnsweredRequest:
    code = "" if status == 200 else "NOT_READY"
    parts = (1, 2, UNKNOWN_NS, 4, 5, 6)
    return AnsweredRequest(
        number, took_ns, parts, status, 3, "optimized", code, "l1", f"id-{number}", "default", "v1", "night.wav", TRACE
    )


def numbered(k: int) -> AnsweredRequest:
    text = str(k % 10) * 40
    return AnsweredRequest(k, k, (k,) * 6, 200, k % 60_000, "legacy", "", "", f"{text}.{k}", text, text, text, None)


@pytest.fixture
def machine() -> Iterator[MachineSegment]:
    made = MachineSegment.create(MachineGeometry(4, 0))
    yield made
    made.close()


@pytest.fixture
def row(machine: MachineSegment) -> Iterator[ProcessRow]:
    made = ProcessRow.private()
    yield made
    made.close()


def numbers(machine: MachineSegment) -> list[int]:
    return sorted({each.at_ns for each in machine.answered(1000)})


def writer(machine: MachineSegment, count: int, crash_point: str = "") -> subprocess.Popen[bytes]:
    fd = os.dup(machine.fd)
    try:
        return subprocess.Popen(
            [sys.executable, "-c", WRITER, str(fd), str(count)], pass_fds=[fd], cwd=ROOT,
            env={**os.environ, VARIABLE: crash_point},
        )  # fmt: skip
    finally:
        os.close(fd)


def test_a_place_holds_one_record_and_a_ring_is_whole_pages() -> None:
    assert PAYLOAD_BYTES + WORD_BYTES == PLACE_BYTES
    assert REQUEST_RING_BYTES % PAGE_BYTES == 0


def test_a_request_is_read_as_it_was_written(machine: MachineSegment, row: ProcessRow) -> None:
    assert row.move_to(machine)
    row.requests.write(answered(7))
    assert set(machine.answered(1000)) == {answered(7)}


def test_texts_that_are_too_long_are_cut_between_two_characters() -> None:
    long = answered(1)._replace(file="ä" * 500, deployment="d" * 128, model_version="\ud800" * 90, status=10**6)
    kept = unpack_request(pack_request(long))
    assert kept.file == "ä" * 48 and kept.deployment == "d" * 64 and kept.status == 0xFFFF
    assert kept.request_id == "id-1" and len(kept.model_version) == 64


def test_the_last_ones_are_kept_and_failures_and_the_slowest_for_longer(
    machine: MachineSegment, row: ProcessRow
) -> None:
    assert row.move_to(machine)
    slow = set(range(SLOW_PLACES))
    for number in slow:
        row.requests.write(answered(number, took_ns=10**9))
    row.requests.write(answered(50, status=503))
    for number in range(100, 1100):
        row.requests.write(answered(number))
    assert set(numbers(machine)) == {*slow, 50, *range(1100 - LAST_PLACES, 1100)}
    for number in range(1100, 1100 + ERROR_PLACES):
        row.requests.write(answered(number, status=429))
    assert set(numbers(machine)) >= slow and 50 not in numbers(machine)
    for number in range(1, 1 + LAST_PLACES):
        row.requests.write(answered(number * MINUTE_NS, took_ns=1))
    assert not slow & set(numbers(machine))


def test_of_a_flood_as_many_are_wanted_as_there_are_places_and_whatever_is_slow(row: ProcessRow) -> None:
    ring, second = row.requests, 10**9
    for number in range(SLOW_PLACES):
        ring.write(answered(number, took_ns=10**6))
    for begins in (0, 5 * second):
        wanted = sum(ring.wants(1_000, begins + k * 1_000) for k in range(10_000))  # in a hundredth of a second
        assert LAST_PLACES <= wanted <= LAST_PLACES + 2
        assert ring.wants(10**7, begins + second // 100)
    assert ring.wants(1_000, 6 * second)


def test_what_was_answered_before_there_was_a_segment_is_in_it_once(machine: MachineSegment, row: ProcessRow) -> None:
    for number in range(300):
        row.requests.write(answered(number, status=503 if number == 20 else 200))
    before = sorted({each.at_ns for each in row.requests.records()})
    assert row.move_to(machine)
    row.requests.write(answered(300))
    assert set(numbers(machine)) >= {20, 300, *range(300 - LAST_PLACES + 10, 300)}
    assert set(numbers(machine)) <= {*before, 300}
    assert row.requests.records() and 20 in before


def test_the_supervisor_needs_no_ring_and_looking_allocates_none(machine: MachineSegment, row: ProcessRow) -> None:
    before = os.fstat(machine.fd).st_blocks
    assert row.move_to(machine, SUPERVISOR_ROW)
    assert machine.answered(1000) == []
    assert os.fstat(machine.fd).st_blocks == before


def test_the_dead_are_remembered_and_the_next_owner_goes_on(machine: MachineSegment) -> None:
    for begin in (0, 10):
        row = ProcessRow.private()
        assert row.move_to(machine)
        for number in range(begin, begin + 10):
            row.requests.write(answered(number))
        row.close()
        row.requests.write(answered(99))
    assert numbers(machine) == list(range(20))


def test_few_of_many_are_read_and_none_is_missed_that_would_be_shown(machine: MachineSegment) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    numbers, rows = random.Random(seed), [ProcessRow.private() for _ in range(3)]
    for row in rows:
        assert row.move_to(machine)
        for _ in range(3 * LAST_PLACES):
            at_ns, total_ns = numbers.randrange(SLOW_WITHIN_NS * 2), numbers.randrange(10**9)
            row.requests.write(answered(at_ns)._replace(total_ns=total_ns, status=numbers.choice((200, 200, 429))))
    everything = machine.answered(10_000)
    assert len(everything) > 3 * LAST_PLACES
    assert len(machine.answered(5)) <= 3 * 5
    shown, of_all = (recent_requests(found, limit=5) for found in (machine.answered(5), everything))
    for name, found in of_all.items():
        assert [row["request_id"] for row in shown[name]] == [row["request_id"] for row in found]
    for row in rows:
        row.close()


def test_killed_within_a_record_a_writer_leaves_none_of_it_and_a_ring_that_goes_on(machine: MachineSegment) -> None:
    killed = writer(machine, 500, "request.half:150")
    assert killed.wait(30) == -9
    found = machine.answered(1000)
    assert found and all(each == numbered(each.at_ns) for each in found)
    after = ProcessRow.private()
    assert after.move_to(machine)
    for number in range(1000, 1000 + LAST_PLACES):
        after.requests.write(numbered(number))
    assert set(range(1000, 1000 + LAST_PLACES)) <= set(numbers(machine))
    after.close()


def test_no_reader_ever_takes_two_halves_for_one_record(machine: MachineSegment) -> None:
    """Another process writes as fast as it can, round the ring hundreds of times."""
    process, looks, seen = writer(machine, 60_000), 0, set[int]()
    while process.poll() is None:
        for each in machine.answered(1000):
            assert each == numbered(each.at_ns)
            seen.add(each.at_ns)
        looks += 1
    assert process.returncode == 0 and looks > 1 and len(seen) > LAST_PLACES
    assert numbers(machine)[-LAST_PLACES:] == list(range(60_000 - LAST_PLACES, 60_000))


def test_a_forked_child_writes_nothing(machine: MachineSegment, row: ProcessRow) -> None:
    assert row.move_to(machine)
    row.requests.write(answered(1))
    child = os.fork()
    if child == 0:
        row.requests.write(answered(2))
        os._exit(0)
    os.waitpid(child, 0)
    assert numbers(machine) == [1]
