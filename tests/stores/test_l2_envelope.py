"""What lies in Redis says whose it is and until when, or it is nothing."""

from __future__ import annotations

import pytest

from engine.stores.l2_envelope import opened, sealed

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
NOW_MS, LONGEST_MS = 1_700_000_000_000, 3_600_000
DATA = sealed(KEY, b"value", NOW_MS + 1000)


def test_a_value_comes_back_with_its_expiry() -> None:
    assert opened(KEY, DATA, now_ms=NOW_MS, longest_ms=LONGEST_MS) == (b"value", NOW_MS + 1000)


def test_a_clock_that_is_wrong_keeps_nothing_for_longer() -> None:
    data = sealed(KEY, b"value", NOW_MS + 10**12)
    assert opened(KEY, data, now_ms=NOW_MS, longest_ms=LONGEST_MS) == (b"value", NOW_MS + LONGEST_MS)


@pytest.mark.parametrize(
    "data",
    [b"", b"NSL2", DATA[:47], b"NSL3" + DATA[4:], DATA[:4] + b"\2" + DATA[5:], sealed(OTHER, b"value", NOW_MS + 1000)],
)
def test_what_is_strange_is_nothing(data: bytes) -> None:
    assert opened(KEY, data, now_ms=NOW_MS, longest_ms=LONGEST_MS) is None


def test_what_has_expired_is_nothing() -> None:
    assert opened(KEY, DATA, now_ms=NOW_MS + 1000, longest_ms=LONGEST_MS) is None
