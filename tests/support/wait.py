"""Waiting for conditions instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def wait_for(condition: Callable[[], Found], what: str, *, timeout_s: float = 20.0, step_s: float = 0.02) -> Found:
    """The first true value of `condition()`. Fails the test, naming `what`, when it does not come in time."""
    give_up_at = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < give_up_at, f"waited {timeout_s} s in vain: {what}"
        time.sleep(step_s)
    return found
