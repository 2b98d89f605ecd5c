"""Who of those who want the same answer computes it: the first, and beside it only who may not wait for it.

One rule, over processes too: nobody waits behind a lower level. So there is at most one who leads at each level, and a
follower waits as long as somebody leads at its own level or above.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar


class Levelled(Protocol):
    """Whoever waits for an answer."""

    @property
    def level(self) -> int:
        """One of LEVELS."""


F = TypeVar("F", bound=Levelled)


class Flight(Generic[F]):
    """Those of one process who want one answer. Not thread-safe: its owner has a lock."""

    def __init__(self) -> None:
        self.leading: set[int] = set()  # levels at which somebody of this process leads
        self.followers: list[F] = []  # in the order in which they came

    @property
    def is_over(self) -> bool:
        """Whether nobody is left."""
        return not self.leading and not self.followers

    def is_led_for(self, level: int) -> bool:
        """Whether somebody of this process leads for a follower of this level."""
        return any(leading >= level for leading in self.leading)

    def heir(self) -> F | None:
        """Whoever is to lead if nobody elsewhere does; None while all have somebody here to wait for.

        The highest level first, so that none of the others may not wait for it; of these the one that came first.
        """
        first = max(self.followers, key=lambda follower: follower.level, default=None)
        return None if first is None or self.is_led_for(first.level) else first

    def take_followers(self) -> list[F]:
        """All of them, who are told now."""
        taken, self.followers = self.followers, []
        return taken
