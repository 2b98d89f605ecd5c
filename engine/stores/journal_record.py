"""One row of the journal, and its bytes.

    0     4 mark     FF "NJ1": never part of a body, which is ASCII; here a reader that met damage goes on
    4     4 length   of the body, in bytes; at most MAX_BODY_BYTES
    8     4 crc32    of everything behind it: bytes 12 to 36 + length
    12    8 time     float64, seconds since 1970: when the answer was recorded
    20   16 id       of the row; with the time its key
    36      body     a JSON object, ASCII: the other fields by name, those that are empty left out

Numbers little-endian. The head says all that storing a record takes, so that its body is parsed only by who reads it.
"""

from __future__ import annotations

import functools
import json
import struct
import zlib
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any, NamedTuple

MARK = b"\xffNJ1"
MAX_BODY_BYTES = 4 << 20
MAX_TEXT = 500  # characters of a file name, a label, an id: longer ones are cut
TOP = 5  # classes kept of each window

_HEAD = struct.Struct("<4sIId16s")
HEAD_BYTES = _HEAD.size
_KEY = struct.Struct("<d16s")
_CHECKED_FROM = HEAD_BYTES - _KEY.size
_CUT_BYTES = MAX_BODY_BYTES - 64 * 1024  # of all windows: the other fields have the rest

_FEW = 100  # windows that always fit

# (index, start_s, end_s, ((label, probability), ...)): the likeliest first, TOP of them at most.
JournalSegment = tuple[int, float, float, Sequence[tuple[str, float]]]


class JournalRow(NamedTuple):
    """One answer. Made once for each request, so a tuple: a frozen dataclass takes four times as long."""

    answered_at: float  # s since 1970
    id: str  # 32 hexadecimal digits
    request_id: str = ""
    deployment: str = ""
    model_version: str = ""
    route: str = ""  # optimized, legacy, predict
    status: int = 0  # of HTTP; of `predict` what it would have been
    outcome: str = "ok"  # ok, error, fallback
    error_code: str = ""
    file: str = ""
    size_bytes: int = 0
    duration_s: float = 0.0
    latency_s: float = 0.0
    cache: str = ""  # "", l1, l2, shared
    client: str = ""
    priority: int = 0
    segments: Sequence[JournalSegment] = ()


class StoredRecord(NamedTuple):
    """A record as it is stored: its key, and the rest unparsed."""

    answered_at: float
    id: bytes  # 16
    body: bytes

    def to_row(self) -> JournalRow:
        """Raises ValueError for a body that is no object of ours."""
        return row_of(self.answered_at, self.id.hex(), self.body)


def encode(row: JournalRow) -> bytes:
    """All bytes of the record: texts cleaned and cut, what would make it longer than MAX_BODY_BYTES left out.

    By hand, since the generic encoder takes twice as long, for each answer that is given.
    """
    common = _common(
        row.deployment, row.model_version, row.route, row.outcome, row.error_code, row.cache, row.client, row.status,
        row.priority,
    )  # fmt: skip
    segments = [_segment(*segment) for segment in row.segments]
    text = (
        f'{{"request_id":{_quoted(clean(row.request_id))},{common}"file":{_quoted(clean(row.file))},'
        f'"size_bytes":{int(row.size_bytes)},"duration_s":{float(_finite(row.duration_s))!r},'
        f'"latency_s":{_finite(row.latency_s)!r},"segments":[{",".join(_bounded(segments))}]}}'
    )
    return sealed(row.answered_at, bytes.fromhex(row.id), text.encode("ascii"))


def sealed(answered_at: float, id: bytes, body: bytes) -> bytes:
    """The record of a body that is ASCII and not too long."""
    key = _KEY.pack(answered_at, id)
    return _HEAD.pack(MARK, len(body), zlib.crc32(body, zlib.crc32(key)), answered_at, id) + body


def decode(record: bytes) -> JournalRow:
    """The row of one whole record. Raises ValueError for anything else."""
    records, used, damaged = scan(record)
    if damaged or used != len(record) or len(records) != 1:
        raise ValueError(f"{len(record)} bytes that are not one record of the journal")
    return records[0].to_row()


def row_of(answered_at: float, id: str, body: bytes) -> JournalRow:
    """The row of a stored record; fields that this version does not know are left out. Raises ValueError."""
    fields = json.loads(body)
    if not isinstance(fields, dict):
        raise ValueError("the body of a record is an object")
    known: dict[str, Any] = {name: fields[name] for name in JournalRow._fields[2:] if name in fields}
    known["segments"] = tuple(map(_segment_of, known.get("segments", ())))
    return JournalRow(answered_at, id, **known)


def scan(data: bytes) -> tuple[list[StoredRecord], int, int]:
    """(the records, bytes done with, damaged places) of a piece of a spool that begins where the last one ended.

    What is left behind the bytes done with is the beginning of a record whose end has not been written yet.
    """
    records: list[StoredRecord] = []
    position = damaged = 0
    is_torn = False  # one damaged place is counted once, however long it is
    while position + HEAD_BYTES <= len(data):
        mark, length, checksum, answered_at, id = _HEAD.unpack_from(data, position)
        end = position + HEAD_BYTES + length
        if mark == MARK and length <= MAX_BODY_BYTES and end <= len(data):
            if zlib.crc32(data[position + _CHECKED_FROM : end]) == checksum:
                records.append(StoredRecord(answered_at, id, data[position + HEAD_BYTES : end]))
                position, is_torn = end, False
                continue
        elif mark == MARK and length <= MAX_BODY_BYTES and data.find(MARK, position + HEAD_BYTES) < 0:
            break
        damaged += not is_torn
        is_torn = True
        position = _next_mark(data, position + 1)
    return records, position, damaged


def time_of(head: bytes) -> float:
    """When the record that begins with these HEAD_BYTES was made, s since 1970; 0.0 if none does. Unchecked."""
    if len(head) != HEAD_BYTES or not head.startswith(MARK):
        return 0.0
    return float(_KEY.unpack_from(head, _CHECKED_FROM)[0])


def clean(text: str) -> str:
    """Without NUL and lone surrogates, which no database takes, and cut to MAX_TEXT characters."""
    if len(text) > MAX_TEXT:
        text = text[:MAX_TEXT]
    if text.isascii():
        return text.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in text else text
    readable = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return readable.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _next_mark(data: bytes, position: int) -> int:
    """Where a record may begin; near the end of the data the last place where its mark could."""
    found = data.find(MARK, position)
    return found if found >= 0 else max(position, len(data) - len(MARK) + 1)


@functools.lru_cache(maxsize=4096)
def _word(text: str) -> str:
    """JSON of a text that comes again and again: a label."""
    return _quoted(clean(text))


@functools.lru_cache(maxsize=1024)
def _common(
    deployment: str,
    model_version: str,
    route: str,
    outcome: str,
    error_code: str,
    cache: str,
    client: str,
    status: int,
    priority: int,
) -> str:
    """The fields that many rows have in common, those that are empty left out; with a comma behind each."""
    texts = [("deployment", deployment), ("model_version", model_version), ("route", route), ("outcome", outcome)]
    texts += [("error_code", error_code), ("cache", cache), ("client", client)]
    parts = [f'"{name}":{_quoted(clean(text))},' for name, text in texts if text]
    return "".join([*parts, f'"status":{int(status)},"priority":{int(priority)},'])


@functools.lru_cache(maxsize=1024)
def _place(index: int, start_s: float, end_s: float) -> str:
    """How a window begins: recorders cut their nights into pieces of one length."""
    return f"[{index},{float(_finite(start_s))!r},{float(_finite(end_s))!r},["


def _segment(index: int, start_s: float, end_s: float, top: Sequence[tuple[str, float]]) -> str:
    listed = [f"[{_word(label)},{(number if number - number == 0.0 else 0.0)!r}]" for label, number in top[:TOP]]
    return f"{_place(index, start_s, end_s)}{','.join(listed)}]]"


def _bounded(segments: Sequence[str]) -> Sequence[str]:
    """The first ones, as many as a record has room for."""
    if len(segments) < _FEW:
        return segments
    left = _CUT_BYTES
    for number, segment in enumerate(segments):
        left -= len(segment) + 1
        if left < 0:
            return segments[:number]
    return segments


def _finite(number: float) -> float:
    """JSON has no word for the others."""
    return number if number - number == 0.0 else 0.0


def _segment_of(given: object) -> JournalSegment:
    match given:
        case [int(index), float(start_s), float(end_s), list(top)]:
            return index, start_s, end_s, tuple((str(label), float(probability)) for label, probability in top)
    raise ValueError(f"{given!r:.60} is no segment")
