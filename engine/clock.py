"""Monotonic time: the only reader of the clock.

Every process of the machine reads the same CLOCK_MONOTONIC, so a moment taken in a frontend can be compared in an
instance. Moments are integers in nanoseconds (`*_ns`), durations for people are floats in seconds (`*_s`).
"""

from __future__ import annotations

import time
from typing import Final

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000
MS_PER_S = 1000
LAST_NS = (1 << 63) - 1  # the latest moment that there is: what a shared word holds, read with or without a sign
_ORDINARY_S = 1e6  # up to here a duration added to any moment is a moment


# Now, in nanoseconds since an arbitrary moment that all processes of this machine share. Not wrapped: it is asked for
# several times for each request.
now_ns = time.monotonic_ns


# What the calling thread has computed so far, in nanoseconds: for costs, since what others do meanwhile is not in it.
thread_cpu_ns = time.thread_time_ns


# The same of all threads of the process together.
process_cpu_ns = time.process_time_ns


def wall_clock_s() -> float:
    """Seconds since 1970, for timestamps that people read; never for limits."""
    return time.time()


class Deadline:
    """One absolute moment by which an answer is due."""

    __slots__ = ("at_ns",)

    def __init__(self, at_ns: int) -> None:
        self.at_ns: Final = at_ns  # not by a frozen dataclass, whose making takes three times as long

    @classmethod
    def after_s(cls, duration_s: float, *, since_ns: int | None = None) -> Deadline:
        """The moment `duration_s` seconds after `since_ns` (default: now), between 0 and LAST_NS.

        Infinity is as good as any number. Raises ValueError for what is no number (nan).
        """
        start_ns = now_ns() if since_ns is None else since_ns
        if 0.0 <= duration_s < _ORDINARY_S:
            return cls(start_ns + int(duration_s * NS_PER_S))
        if duration_s != duration_s:
            raise ValueError(f"{duration_s} is no duration")
        after_ns = min(float(LAST_NS), max(-float(LAST_NS), duration_s * NS_PER_S))
        return cls(min(LAST_NS, max(0, start_ns + int(after_ns))))

    def remaining_s(self) -> float:
        """Seconds left; 0.0 when past."""
        return max(0.0, (self.at_ns - now_ns()) / NS_PER_S)

    @property
    def expired(self) -> bool:
        """Whether the moment has passed."""
        return now_ns() >= self.at_ns
