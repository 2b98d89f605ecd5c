"""What a process that must go on has met, and when it tries again: an account of steps that failed.

A step is in trouble from its first failure until it succeeds. Whoever runs the steps asks here how long to pause and
whether the failure is news; whoever looks from outside sees which step, why, since when and how often.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 2.0
_MOST_RECENT = 20  # arbitrary: what fits on a page
_LONGEST_ERROR = 1000  # characters
_MOST_KINDS = 1000  # kinds of failure that are remembered as told


@dataclass(frozen=True, slots=True)
class Trouble:
    """One step that failed. `healed_ns` is 0 for as long as it still does."""

    step: str
    error: str
    since_ns: int
    last_ns: int
    count: int
    healed_ns: int = 0


@dataclass(frozen=True, slots=True)
class Retry:
    """What to do about one failure: try again after `pause_s`; write all about it if it `is_news`, else count it."""

    pause_s: float
    is_news: bool


class Health:
    """Fields change through `note` and `heal` alone. A key stands for one thing that is tried, a step for its name."""

    def __init__(self) -> None:
        self._open: dict[Hashable, Trouble] = {}
        self._recent: deque[Trouble] = deque(maxlen=_MOST_RECENT)
        self._told: set[tuple[str, str]] = set()

    @property
    def degraded(self) -> bool:
        """Whether some step is in trouble now."""
        return bool(self._open)

    def note(self, key: Hashable, step: str, error: BaseException, now_ns: int) -> Retry:
        """`step` failed again, or for the first time."""
        text = f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]
        before = self._open.get(key)
        since_ns, count = (before.since_ns, before.count + 1) if before is not None else (now_ns, 1)
        self._open[key] = Trouble(step, text, since_ns, now_ns, count)
        kind = (step, text)
        is_news = kind not in self._told
        if len(self._told) >= _MOST_KINDS:
            self._told.clear()
        self._told.add(kind)
        return Retry(pause_s(count), is_news)

    def heal(self, key: Hashable, now_ns: int) -> Trouble | None:
        """The step succeeded, or nobody tries it any more; what its trouble was, if it was in any."""
        trouble = self._open.pop(key, None)
        if trouble is None:
            return None
        healed = Trouble(trouble.step, trouble.error, trouble.since_ns, trouble.last_ns, trouble.count, now_ns)
        self._recent.append(healed)
        return healed

    def failures(self, key: Hashable) -> int:
        """How often in a row it has failed."""
        trouble = self._open.get(key)
        return trouble.count if trouble is not None else 0

    def troubles(self) -> list[Trouble]:
        """Those that last, the oldest first."""
        return sorted(self._open.values(), key=lambda each: each.since_ns)

    def recent(self) -> list[Trouble]:
        """Those that are over, the last of them last."""
        return list(self._recent)


def pause_s(failures: int) -> float:
    """The pause after so many failures in a row (at least 1): doubling, bounded."""
    return min(_LONGEST_PAUSE_S, float(_FIRST_PAUSE_S * 2.0 ** min(failures - 1, 32)))
