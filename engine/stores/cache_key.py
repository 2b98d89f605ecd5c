"""Under what the windows of one recording are cached: a hash of the file and of all else that they follow from.

    key = SHA-256(SHA-256(scope) + SHA-256(file))

The file is its own bytes, not the body that it came in: the same recording in a form, raw or packed is the same. What
only decides how an answer is worded (its length, the name of the file) is no part of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass

HASHED_INLINE_BYTES = 1 << 20  # 0.5 ms of an event loop with the processor's own instructions for it, 3 ms without
KEY_BYTES = 32

# To be raised whenever another release decodes or cuts the same file into other windows: Redis outlives releases.
_WINDOWS_FORM = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheScope:
    """All that shapes the windows of a file, their probabilities, or its refusal, besides the file."""

    deployment: str
    model_version: str
    activation: str
    classes: int
    input_shape: tuple[int, ...]
    sample_rate_hz: int
    peak_normalise: bool
    segmentation: str  # as used: what the settings or the route say where the caller says nothing
    overlap_s: float
    min_window_s: float
    max_segments: int
    max_duration_s: float  # 0: no limit
    max_decoded_bytes: int
    require_wav: bool

    def digest(self) -> bytes:
        """32 bytes."""
        text = json.dumps([_WINDOWS_FORM, dataclasses.asdict(self)], separators=(",", ":"))
        return hashlib.sha256(text.encode()).digest()


def file_digest(file: bytes | bytearray | memoryview) -> bytes:
    """32 bytes; takes 0.5 to 3 ms a megabyte, without the interpreter's lock."""
    return hashlib.sha256(file).digest()


def cache_key(scope_digest: bytes, digest_of_file: bytes) -> bytes:
    """KEY_BYTES bytes."""
    return hashlib.sha256(scope_digest + digest_of_file).digest()
