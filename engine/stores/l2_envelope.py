"""A value as it lies in Redis: whose it is and until when, so that it can be believed, and kept elsewhere for as long.

Bytes, little-endian: "NSL2", u32 version of this form: 1, u64 milliseconds since 1970 at which it expires, the 32 bytes
of its key, then the value. A value that somebody moved to another key is no value.
"""

from __future__ import annotations

import struct

from engine.stores.cache_key import KEY_BYTES

_MAGIC = b"NSL2"
_VERSION = 1
_HEAD = struct.Struct(f"<4sIQ{KEY_BYTES}s")


def sealed(key: bytes, value: bytes, expires_at_ms: int) -> bytes:
    """The bytes to be stored under `key`."""
    return _HEAD.pack(_MAGIC, _VERSION, expires_at_ms, key) + value


def opened(key: bytes, data: bytes, *, now_ms: int, longest_ms: int) -> tuple[bytes, int] | None:
    """The value and when it expires; None for what `sealed` did not make for `key`, or what has expired.

    Whatever its writer's clock said, it expires within `longest_ms`.
    """
    if len(data) < _HEAD.size:
        return None
    magic, version, expires_at_ms, owner = _HEAD.unpack_from(data)
    if magic != _MAGIC or version != _VERSION or owner != key or expires_at_ms <= now_ms:
        return None
    return data[_HEAD.size :], min(expires_at_ms, now_ms + longest_ms)
