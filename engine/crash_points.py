"""Named places where a test may kill the process; free when off.

`NIGHTSCAN_CRASH_POINT="take.leased:3"` makes the process send itself SIGKILL when it reaches `take.leased` for the
third time (without a number: the first). SIGKILL, not an exception, since the point is that nothing is cleaned up.
"""

from __future__ import annotations

import os
import signal

from engine.errors import ConfigError

VARIABLE = "NIGHTSCAN_CRASH_POINT"


class _Armed:
    """One crash point and how often it must still be reached."""

    def __init__(self, point: str, countdown: int) -> None:
        self.point = point
        self.countdown = countdown


def _parse(value: str) -> _Armed | None:
    point, _, nth = value.partition(":")
    if not point:
        return None
    if nth and (not nth.isdigit() or int(nth) < 1):
        raise ConfigError(f"{VARIABLE}={value!r}: want a point's name, or name:n with n >= 1")
    return _Armed(point, int(nth or 1))


armed = _parse(os.environ.get(VARIABLE, ""))


def arm(value: str) -> None:
    """Sets the crash point of this process, "" for none. Raises ConfigError for a value that is malformed."""
    global armed
    armed = _parse(value)


def reach(point: str) -> None:
    """Says that the process is at `point`; does not return if this is where it is to die."""
    if armed is not None:
        _step(armed, point)


def _step(armed: _Armed, point: str) -> None:
    if armed.point != point:
        return
    armed.countdown -= 1
    if armed.countdown == 0:
        os.kill(os.getpid(), signal.SIGKILL)
