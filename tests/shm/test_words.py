"""Slot words: packing, and that they are never seen torn by another process."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.shm.layout import Geometry
from engine.shm.segment import Segment
from engine.shm.words import (
    FREE,
    MAX_NAME,
    REPLIED,
    WRITING,
    generation_of,
    lessee_of,
    pack,
    state_of,
)
from tests.shm.rig import python_child, says

TORN_CHECK_S = 1.0
PATTERNS = (0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210)

WRITER = f"""
import sys
from engine.shm.segment import Segment
segment = Segment.attach(int(sys.argv[1]))
word, (one, other) = segment.tables.word, {PATTERNS}
print("ready", flush=True)
while True:
    for _ in range(1000):
        word[3] = one
        word[3] = other
"""


@given(
    generation=st.integers(0, (1 << 32) - 1), lessee=st.integers(0, MAX_NAME), state=st.integers(FREE, REPLIED)
)
def test_a_word_gives_back_what_was_packed(generation: int, lessee: int, state: int) -> None:
    word = pack(generation, lessee, state)
    assert (generation_of(word), lessee_of(word), state_of(word)) == (generation, lessee, state)
    assert 0 <= word < 1 << 64


def test_the_generation_wraps() -> None:
    assert pack(1 << 32, 0, WRITING) == pack(0, 0, WRITING)


@pytest.mark.parametrize("reader", ["word", "state"])
def test_no_word_is_seen_torn(reader: str) -> None:
    """Another process alternates two words that share no byte; neither way to read sees a mix of them."""
    segment = Segment.create(Geometry(lanes=1, slots=8, payload_bytes=64, reply_bytes=4, instance_rows=1))
    segment.tables.word[3] = PATTERNS[0]
    offset = segment.geometry.table_at("word") + 3 * 8
    states = segment.array[offset : offset + 8 : 8]
    seen: set[int] = set()
    with python_child(WRITER, [segment.fd]) as child:
        assert says(child) == "ready"
        give_up_at = time.monotonic() + TORN_CHECK_S
        while time.monotonic() < give_up_at:
            for _ in range(2000):
                seen.add(segment.tables.word[3] if reader == "word" else int(states[0]))
    assert seen == (set(PATTERNS) if reader == "word" else {pattern & 0xFF for pattern in PATTERNS})
    del states
    segment.close()
