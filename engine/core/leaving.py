"""How long an instance that was told to leave may stay.

As long as somebody waits for what it computes: whoever is killed earlier has its batch computed again, for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LeavePolicy:
    """The values are judgement; tests shrink them."""

    idle_ns: int = 5_000_000_000  # without work: to read the order, reply and end
    margin_ns: int = 1_000_000_000  # a batch that is done just in time still has to be replied to

    def stays_until_ns(self, *, told_ns: int, latest_deadline_ns: int | None) -> int:
        """When an instance that was told to leave at `told_ns` is killed, should it still be there.

        `latest_deadline_ns`: of the requests that it has in hand, None if nobody waits for any.
        """
        idle_ns = told_ns + self.idle_ns
        return idle_ns if latest_deadline_ns is None else max(idle_ns, latest_deadline_ns + self.margin_ns)
