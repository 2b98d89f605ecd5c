"""The tables of `engine/README.md`, "The bytes", say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from engine.shm.cache_layout import (
    ARENA_BITS,
    CACHE_MAGIC,
    LEAST_ARENA_BYTES,
    RECORD_MAGIC,
    UNIT_BITS,
    UNIT_BYTES,
    WAYS,
    ArenaWord,
    CacheGeometry,
    CacheHeader,
    RecordWord,
)
from engine.shm.layout import SLOT_FIELDS, Header, InstanceWord, LaneWord
from engine.shm.machine_layout import SEAT_NAME_BYTES, SEAT_ROWS, MachineHeader, ProcessWord, SeatWord
from engine.stores.flight_ground import byte_of

ENGINE = Path(__file__).resolve().parents[2] / "engine"
README = (ENGINE / "README.md").read_text()


def table_after(heading: str) -> dict[str, int]:
    """Field -> number, of the first table after `heading`."""
    text = README.split(heading, 1)[1].split("| word |" if "SLOT_FIELDS" not in heading else "| table |", 1)[1]
    rows = text.split("\n\n", 1)[0]
    return {name: int(number) for number, name in re.findall(r"^\| (\d+) \| `(\w+)` \|", rows, re.MULTILINE)}


def constants(owner: type) -> dict[str, int]:
    return {name: value for name, value in vars(owner).items() if name.isupper() and name != "WORDS"}


@pytest.mark.parametrize(
    ("heading", "declared"),
    [
        ("Header (`Header`)", constants(Header)),
        ("Instance row (`InstanceWord`)", constants(InstanceWord)),
        ("Lane row (`LaneWord`)", constants(LaneWord)),
        ("Header (`MachineHeader`)", constants(MachineHeader)),
        ("Row of a process (`ProcessWord`)", constants(ProcessWord)),
        ("Row of a seat (`SeatWord`)", constants(SeatWord)),
        ("Header of the cache (`CacheHeader`)", constants(CacheHeader)),
        ("Row of an arena (`ArenaWord`)", constants(ArenaWord)),
        ("Record (`RecordWord`)", constants(RecordWord)),
        ("Slot tables (`SLOT_FIELDS`)", {name: number for number, name in enumerate(SLOT_FIELDS)}),
    ],
)
def test_every_word_is_documented_where_it_lies(heading: str, declared: dict[str, int]) -> None:
    assert table_after(heading) == declared


def test_every_crash_point_is_named() -> None:
    source = "".join(path.read_text() for room in ("shm", "stores") for path in (ENGINE / room).glob("*.py"))
    section = README.split("Named places", 1)[1].split("## ", 1)[0]
    named = set(re.findall(r"`([a-z]+\.[a-z]+)`", section)) - {"crash_points.py"}
    assert named == set(re.findall(r'reach\("([\w.]+)"\)', source))


def test_the_sizes_of_the_cache_are_those_of_the_code() -> None:
    section = README.split("## The bytes of the cache", 1)[1].split("## ", 1)[0]
    geometry = CacheGeometry.fitting(16 << 20, 4)
    assert f"arenas x {ArenaWord.WORDS} words" in section
    assert f"sets x {WAYS} words" in section
    assert f"sets = area bytes / {geometry.area_bytes // geometry.sets}" in section
    assert f"tag {64 - ARENA_BITS - UNIT_BITS} bits | arena + 1 {ARENA_BITS} | unit {UNIT_BITS}" in section
    assert f"each gets {LEAST_ARENA_BYTES // 1024} KB" in section
    assert f"follows at word {RecordWord.WORDS}" in section
    assert f"a unit is {UNIT_BYTES} bytes" in section
    assert f"\"{CACHE_MAGIC.to_bytes(8, 'little').decode()}\"" in section
    assert f"\"{RECORD_MAGIC.to_bytes(8, 'little').decode()}\"" in section
    assert geometry.largest_value_bytes == geometry.arena_bytes // 4
    assert byte_of(b"\xff" * 32, -1) == 2**62 + 4 * (2**60 - 1)


def test_the_sizes_of_the_rows_of_the_machine_are_those_of_the_code() -> None:
    section = README.split("## The bytes of the machine", 1)[1].split("\n## ", 1)[0]
    assert f"rows x {ProcessWord.WORDS} words" in section
    assert f"{SEAT_ROWS} x {SeatWord.WORDS} words" in section
    assert f"| `DEPLOYMENT` | {SEAT_NAME_BYTES} bytes of UTF-8" in section
