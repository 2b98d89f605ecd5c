"""What somebody is who wants an answer that others want as well: the one who computes it, or one who waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, Union

from engine.errors import EngineError
from engine.shm.cache_record import CacheRecord


class LeaderOwner(Protocol):
    """Whom a leader tells what came of it. Each ends the leader, unless it has ended already."""

    def leader_finished(self, leader: Leader, record: CacheRecord, *, is_kept: bool) -> None:
        """There is an answer."""

    def leader_failed(self, leader: Leader, error: EngineError) -> None:
        """There is none, and nobody else would get one."""

    def leader_dispersed(self, leader: Leader) -> None:
        """There is one, but for the leader alone."""

    def leader_released(self, leader: Leader) -> None:
        """It does not compute any more."""


class Leader:
    """Whoever computes. Must be ended by one of the four, or others wait for it until it dies; the first one counts."""

    __slots__ = ("key", "level", "is_alone", "is_over", "_owner")

    def __init__(self, owner: LeaderOwner, key: bytes, level: int, *, is_alone: bool = False) -> None:
        self._owner = owner
        self.key = key
        self.level = level
        self.is_alone = is_alone  # nobody waits for it
        self.is_over = False  # written by its owner, under that one's lock

    def finish(self, record: CacheRecord, *, is_kept: bool) -> None:
        """There is the answer, for everybody. `is_kept`: it is in L1 already; else other processes compute it anew."""
        self._owner.leader_finished(self, record, is_kept=is_kept)

    def fail(self, error: EngineError) -> None:
        """The input is to blame: whoever waits gets the same error. Of any other error: `release`."""
        self._owner.leader_failed(self, error)

    def disperse(self) -> None:
        """The answer is of no use to others (of another version than the key's): each computes by itself, at once."""
        self._owner.leader_dispersed(self)

    def release(self) -> None:
        """Given up (hung up, out of time, refused): one of those who wait computes."""
        self._owner.leader_released(self)


Outcome = Union[CacheRecord, EngineError, Leader]  # of waiting; Leader: that one has to compute itself


class FollowerOwner(Protocol):
    """Whom a follower asks to be let go."""

    def follower_cancelled(self, follower: Follower) -> bool:
        """Whether it was still waiting."""


class Follower:
    """Whoever waits for another's answer. `on_done` is called once, in any thread, unless `cancel` came before."""

    __slots__ = ("key", "level", "deadline_ns", "since_ns", "on_done", "_owner")

    def __init__(
        self,
        owner: FollowerOwner,
        key: bytes,
        level: int,
        deadline_ns: int,
        since_ns: int,
        on_done: Callable[[Outcome], object],
    ) -> None:
        self._owner = owner
        self.key = key
        self.level = level
        self.deadline_ns = deadline_ns
        self.since_ns = since_ns  # monotonic: errors that were left before are none of its business
        self.on_done = on_done

    def cancel(self) -> bool:
        """Waits no longer. False: `on_done` was called, or is about to be; a Leader must then be released there."""
        return self._owner.follower_cancelled(self)
