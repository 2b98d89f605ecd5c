"""Fixtures of the shared-memory tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.shm.rig import Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A segment with two lanes of four slots; at the end every slot must be accounted for."""
    made = Rig()
    yield made
    counts = made.steward.counts()
    assert counts.total == made.segment.geometry.slot_count
    made.close()
