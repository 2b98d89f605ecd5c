"""One record of the cache as bytes: whether a copy of it is whole says its checksum alone.

A record is copied out of memory that others write into at that moment. Whatever the copy then holds, it is believed
only if the key is the one that was asked for and the checksum fits everything behind it. The checksum is BLAKE2b of
64 bits: 0.4 us for a small record. A CRC of each half takes a third of the time for a large one, but of an error within
one half it has 32 bits.
"""

from __future__ import annotations

import enum
from hashlib import blake2b
from typing import NamedTuple

from engine.shm.cache_layout import CHECKED_FROM, RECORD, RECORD_BYTES, RECORD_MAGIC
from engine.shm.words import WORD_BYTES

_KIND_FACTOR = 0x9E3779B97F4A7C15  # odd, arbitrary: records of one key and several kinds lie apart in the index
_WORD_MASK = (1 << 64) - 1


class RecordKind(enum.IntEnum):
    """What a record says. Whoever asks for one kind never sees another."""

    ANSWER = 1  # a value
    ERROR = 2  # why there is none: for those who waited for it
    APART = 3  # there is a value that cannot be shared: for those who waited for it


class CacheRecord(NamedTuple):
    """What was kept under a key."""

    value: bytes
    expires_at_ms: int  # milliseconds since 1970
    kind: int


def place_of(key: bytes, kind: int) -> int:
    """64 bits that say where the index has the record, and by which tag."""
    return int.from_bytes(key[:WORD_BYTES], "little") ^ (kind * _KIND_FACTOR & _WORD_MASK)


def pack_record(key: bytes, record: CacheRecord, position: int, sequence: int) -> bytes:
    """The bytes of a record that is to lie at `position` of its arena's log as number `sequence` in it."""
    value, expires_at_ms, kind = record
    header = RECORD.pack(0, RECORD_MAGIC, kind, key, expires_at_ms, len(value), position, sequence)
    checked = header[CHECKED_FROM:] + value
    return _checksum(checked) + checked


def is_of(copy: bytes, key: bytes, kind: int) -> bool:
    """Whether these bytes, of at least RECORD_BYTES, begin a record of this key and kind, whole or not."""
    _, magic, kind_found, key_found, *_ = RECORD.unpack_from(copy)
    return (magic, kind_found, key_found) == (RECORD_MAGIC, kind, key)


def length_in(copy: bytes) -> int:
    """Bytes of the record without what fills its last unit, as its header says: a torn one may say anything."""
    return RECORD_BYTES + int(RECORD.unpack_from(copy)[5])


def unpack_record(copy: bytes, key: bytes, kind: int) -> CacheRecord | None:
    """The record of this key and kind that `copy` is, to its last byte.

    None if it is torn: it was overwritten while it was copied, or its writer died.
    """
    checksum = _checksum(memoryview(copy)[CHECKED_FROM:])
    if checksum != copy[:CHECKED_FROM] or not is_of(copy, key, kind) or length_in(copy) != len(copy):
        return None
    return CacheRecord(copy[RECORD_BYTES:], RECORD.unpack_from(copy)[4], kind)


def _checksum(checked: bytes | memoryview) -> bytes:
    return blake2b(checked, digest_size=CHECKED_FROM).digest()
