"""A record holds what it was given, in bytes that tell damage from data."""

from __future__ import annotations

import json
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.stores.journal_record import (
    HEAD_BYTES,
    MARK,
    MAX_BODY_BYTES,
    MAX_TEXT,
    JournalRow,
    clean,
    decode,
    encode,
    scan,
    sealed,
)
from tests.support.server import ROOT

ID = "0123456789abcdef" * 2
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
SEGMENT = st.tuples(
    st.integers(0, 10**6), NUMBER, NUMBER, st.lists(st.tuples(TEXT, NUMBER), max_size=5).map(tuple)
)
ROW = st.builds(
    JournalRow,
    answered_at=NUMBER,
    id=st.binary(min_size=16, max_size=16).map(bytes.hex),
    request_id=TEXT,
    deployment=TEXT,
    model_version=TEXT,
    route=st.sampled_from(["optimized", "legacy", "predict"]),
    status=st.sampled_from([200, 500, 503]),
    outcome=st.sampled_from(["ok", "error", "fallback"]),
    error_code=TEXT,
    file=TEXT,
    size_bytes=st.integers(0, 1 << 40),
    duration_s=NUMBER,
    latency_s=NUMBER,
    cache=st.sampled_from(["", "l1", "l2", "shared"]),
    client=TEXT,
    priority=st.integers(-100, 100),
    segments=st.lists(SEGMENT, max_size=4).map(tuple),
)


@given(ROW)
def test_what_is_encoded_is_decoded(row: JournalRow) -> None:
    assert decode(encode(row)) == row


@given(st.text(st.characters(), max_size=600))
def test_no_text_of_a_record_holds_what_a_database_refuses(text: str) -> None:
    row = decode(encode(JournalRow(1.0, ID, file=text, segments=((0, 0.0, 1.0, ((text, 0.5),)),))))
    for kept in (row.file, row.segments[0][3][0][0]):
        assert kept == clean(text) and len(kept) <= MAX_TEXT and "\0" not in kept
        kept.encode()  # raises for a lone surrogate


def test_a_number_that_is_none_becomes_zero() -> None:
    row = JournalRow(1.0, ID, duration_s=float("inf"), segments=((0, float("nan"), 1.0, (("owl", float("-inf")),)),))
    decoded = decode(encode(row))
    assert decoded.duration_s == 0.0 and decoded.segments == ((0, 0.0, 1.0, (("owl", 0.0),)),)


def test_a_night_of_windows_is_cut_to_what_a_record_may_be() -> None:
    top = tuple((f"{'x' * 300}{rank}", 0.5) for rank in range(9))
    segments = tuple((index, float(index), index + 1.0, top) for index in range(5_000))
    record = encode(JournalRow(1.0, ID, file="\u20ac" * 5_000, segments=segments))
    assert len(record) <= HEAD_BYTES + MAX_BODY_BYTES
    row = decode(record)
    assert 0 < len(row.segments) < 5_000 and len(row.segments[0][3]) == 5


def test_a_field_of_a_later_version_is_passed_over() -> None:
    assert decode(sealed(2.0, bytes.fromhex(ID), b'{"route":"legacy","loudness":3}')).route == "legacy"


@pytest.mark.parametrize("body", [b"[]", b"{", b"7", b'{"segments":[[0,0.0,1.0,[["owl"]]]]}'])
def test_a_body_that_is_none_of_ours_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        decode(sealed(2.0, bytes.fromhex(ID), body))


def test_every_byte_of_a_record_is_checked() -> None:
    record = encode(JournalRow(1.0, ID, file="night.wav"))
    for position in range(len(record)):
        damaged = bytearray(record)
        damaged[position] ^= 0x11
        assert scan(bytes(damaged))[0] == [], position


@given(st.binary(max_size=200), st.integers(0, 2000), st.integers(1, 60))
def test_damage_costs_what_is_damaged_and_no_record_behind_it(junk: bytes, start: int, length: int) -> None:
    rows = [JournalRow(float(number), ID, file=f"{number}.wav") for number in range(20)]
    records = [encode(row) for row in rows]
    whole = b"".join(records)
    start = min(start, len(whole) - 1)
    data = whole[:start] + junk.replace(MARK, b"") + whole[start + length :]
    found, used, damaged = scan(data)
    ends = [sum(map(len, records[: number + 1])) for number in range(20)]
    begins = [end - len(record) for end, record in zip(ends, records)]
    intact = [number for number in range(20) if ends[number] <= start or begins[number] >= start + length]
    kept = [json.loads(record.body)["file"] for record in found]
    assert set(kept) >= {f"{number}.wav" for number in intact} - {"19.wav"}
    assert len(kept) == len(set(kept)) and used <= len(data)


def test_the_manual_says_where_each_field_lies() -> None:
    text = (ROOT / "engine" / "README.md").read_text().split("## The bytes of a spool", 1)[1].split("\n## ", 1)[0]
    lines = [line.split("|")[1:4] for line in text.splitlines() if line.startswith("| ") and line[2].isdigit()]
    places = {name.strip(): (int(offset), size.strip()) for offset, size, name in lines}
    record = sealed(2.5, bytes.fromhex(ID), b"{}")

    def field(name: str) -> bytes:
        offset, size = places[name]
        return record[offset:] if size == "length" else record[offset : offset + int(size)]

    assert field("mark") == MARK and field("body") == b"{}" and field("id").hex() == ID
    assert struct.unpack("<I", field("length")) == (2,) and struct.unpack("<d", field("time")) == (2.5,)
    assert struct.unpack("<I", field("crc32")) == (zlib.crc32(record[places["time"][0] :]),)


def test_the_beginning_of_a_record_waits_for_its_end() -> None:
    record = encode(JournalRow(1.0, ID, file="night.wav"))
    for cut in range(len(record)):
        assert scan(record + record[:cut]) == (scan(record)[0], len(record), 0)


def test_a_record_that_was_cut_short_is_damage_once_another_follows() -> None:
    record = encode(JournalRow(1.0, ID, file="night.wav"))
    assert scan(record[:-5] + record) == (scan(record)[0], 2 * len(record) - 5, 1)
