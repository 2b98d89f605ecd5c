"""How much of a journal is kept: by age, and by what it takes of the disk."""

from __future__ import annotations

from dataclasses import dataclass

_S_PER_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """`days` 0: for ever."""

    days: int
    max_bytes: int

    def oldest_kept_s(self, now_s: float) -> float | None:
        """Answers from before that moment are to go; None: none are. Both in seconds since 1970."""
        return now_s - self.days * _S_PER_DAY if self.days else None

    def is_over(self, used_bytes: int) -> bool:
        """Whether rows are to go, the oldest first, whatever their age."""
        return used_bytes > self.max_bytes
