"""The slot word, and the one way in which shared words are read and stored.

A slot word is one aligned 8-byte word: generation 32 bits | lessee name 24 | state 8, always stored whole, so that a
process killed between two stores never leaves a generation with another's state.

Assumed of the machine, here and nowhere else: on x86-64 an aligned 8-byte store appears whole and the stores of one
process appear to all others in program order. CPython stores an element of a `memoryview` cast to "Q" by one 8-byte
move; `struct.pack_into` stores byte by byte and was seen torn. `tests/shm/test_words.py` checks for torn words, the
stress test checks the order. No step of the protocol needs a load ordered after an own earlier store without a system
call between them, which is the one reordering that x86-64 does.
"""

from __future__ import annotations

FREE, WRITING, READY, LEASED, REPLIED = range(5)
STATE_NAMES = ("free", "writing", "ready", "leased", "replied")

WORD_BYTES = 8
MAX_NAME = (1 << 24) - 1
STATE_BITS = 0xFF  # of a slot word
GENERATION_BITS = 0xFFFF_FFFF_0000_0000  # what stays of it in a step of the same generation
_GENERATION_MASK = (1 << 32) - 1


def pack(generation: int, lessee: int, state: int) -> int:
    """The slot word of these three; the generation wraps at 2**32, a lessee must be in [0, MAX_NAME]."""
    return (generation & _GENERATION_MASK) << 32 | lessee << 8 | state


def generation_of(word: int) -> int:
    """How often the slot was freed, modulo 2**32."""
    return word >> 32


def lessee_of(word: int) -> int:
    """Name of the instance that leased the slot; 0 unless LEASED."""
    return word >> 8 & MAX_NAME


def state_of(word: int) -> int:
    """One of FREE, WRITING, READY, LEASED, REPLIED."""
    return word & 0xFF


def word_view(buffer: memoryview, offset: int, count: int) -> memoryview:
    """`count` words from byte `offset` on (a multiple of 8), each read and stored whole by indexing."""
    return buffer[offset : offset + WORD_BYTES * count].cast("Q")


def bits_view(buffer: memoryview, offset: int, count: int) -> memoryview[float]:
    """The same words read and stored as float64."""
    return buffer[offset : offset + WORD_BYTES * count].cast("d")
