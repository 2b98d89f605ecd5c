"""One request's question to the cache, from the first look to what is kept of its answer.

It is asked in steps, none of which waits: `find` looks into L1 and asks L2, `advance` says whether the request is to be
computed now, and `add_done_callback` calls back when there is something new to advance by.
"""

from __future__ import annotations

import enum
import functools
import threading
from collections.abc import Callable, Sequence
from copy import copy
from typing import NamedTuple, Protocol

from engine.clock import thread_cpu_ns
from engine.core.bypass import Bypass, LookupChoice
from engine.errors import ClientGone, EngineError, InternalError, ModelCrashed, ModelFailed, NonFiniteOutput
from engine.shm.cache_record import CacheRecord
from engine.stores.cache_key import cache_key
from engine.stores.cache_value import CacheValue, Computed, Heard, Place, decoded, encoded
from engine.stores.flight_roles import Follower, Leader, Outcome
from engine.stores.single_flight import SingleFlight

# Errors of the input: whoever sends the same gets the same, so that nobody computes it again at once.
_OF_THE_INPUT = (ModelFailed, ModelCrashed, NonFiniteOutput)


class Standing(enum.Enum):
    """What a lookup has come to."""

    WAITING = enum.auto()
    FOUND = enum.auto()
    FAILED = enum.auto()
    TO_COMPUTE = enum.auto()


class LookupReason(NamedTuple):
    """Why one request asks, for what is learnt from it."""

    bypass: Bypass  # of the deployment
    choice: LookupChoice
    began_ns: int  # thread_cpu_ns before the file was hashed


class Levels(Protocol):
    """Where a lookup looks, and where it keeps. None of it waits."""

    @property
    def flights(self) -> SingleFlight:
        """Who computes the same at this moment."""

    @property
    def keep_ns(self) -> int:
        """About what keeping one answer takes: a part of what a question costs that finds nothing."""

    def from_l1(self, key: bytes, classes: int, *, is_counted: bool) -> CacheValue | None:
        """What this machine has."""

    def ask_l2(
        self, key: bytes, classes: int, asked: LookupReason, answered: Callable[[CacheValue | None], object]
    ) -> bool:
        """Whether all machines are asked; then `answered` is called once, in any thread, within 50 ms."""

    def keep(self, key: bytes, value: bytes, asked: LookupReason) -> tuple[CacheRecord, bool]:
        """Where it was asked for; the record, and whether this machine has it now."""


class Lookup:
    """Made by `TwoLevelCache.lookup`. Thread-safe: what one thread advances, others tell the news and let go of."""

    __slots__ = (
        "found", "key", "origin", "_asked", "_callbacks", "_classes", "_digest", "_error", "_follower", "_is_alone",
        "_is_asking", "_is_following", "_is_over", "_leader", "_levels", "_lock",
    )  # fmt: skip

    def __init__(self, levels: Levels, digest_of_file: bytes, asked: LookupReason) -> None:
        self._levels = levels
        self._digest = digest_of_file
        self._asked = asked
        self.key = b""  # of what was looked for last
        self.found: CacheValue | None = None
        self.origin = ""  # where it was found: "l1", "l2", or "shared" with a request that computed it meanwhile
        self._classes = 0
        # Changed under the lock, which is held for no call of anybody else. Equation: at most one of the four is true
        # of `found`, `_error`, `_is_asking` and `_is_following`.
        self._lock = threading.Lock()
        self._is_asking = False  # L2 is, about `key`
        self._is_following = False  # somebody else computes
        self._follower: Follower | None = None
        self._leader: Leader | None = None
        self._error: EngineError | None = None
        self._is_alone = False  # computes without telling anybody
        self._is_over = False  # nobody asks any more
        self._callbacks: list[Callable[[object], None]] = []

    # --- for whoever asks -------------------------------------------------------------------------------------------

    def find(self, scope_digest: bytes, classes: int) -> None:
        """Looks into L1; where `found` stays None, L2 is asked. Again, later, only L1 is looked into.

        `classes`: of the model that the scope names.
        """
        key = cache_key(scope_digest, self._digest)
        is_first = key != self.key
        if is_first:
            self._begin(key, classes)
        elif self.found is not None:
            return
        value = self._levels.from_l1(key, classes, is_counted=is_first)
        if is_first:
            bypass, choice, began_ns = self._asked
            hit = value is not None
            cost_ns = thread_cpu_ns() - began_ns + (0 if hit else self._levels.keep_ns)
            bypass.asked_l1(choice, cost_ns=cost_ns, hit=hit)
        if value is not None:
            with self._lock:
                self.found, self.origin, self._is_asking = value, "l1", False
        elif is_first:
            self._is_asking = True
            if not self._levels.ask_l2(key, classes, self._asked, functools.partial(self._answered, key)):
                self._is_asking = False

    def advance(self, level: int, deadline_ns: int) -> Standing:
        """Where it stands now. Whoever is told TO_COMPUTE says at last what came of it: `keep`, `fail` or `let_go`.

        `level`: of the request, -1 bulk to 1 interactive.
        """
        with self._lock:
            if self.found is not None:
                return Standing.FOUND
            if self._error is not None:
                return Standing.FAILED
            if self._is_asking or self._is_following:
                return Standing.WAITING
            if self._leader is not None or self._is_alone:
                return Standing.TO_COMPUTE
            self._is_following = True  # until it is known to lead: `_flown` may come before `join` returns
        joined = self._levels.flights.join(self.key, level, deadline_ns, self._flown)
        if not isinstance(joined, Follower):
            self._flown(joined)
            return self.advance(level, deadline_ns)
        with self._lock:
            self._follower = joined if self._is_following else None
            is_over = self._is_over
        if is_over:
            joined.cancel()
        return Standing.WAITING

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        """Calls back, in any thread, when `advance` may say something else than WAITING; at once if so already."""
        with self._lock:
            if self._is_asking or self._is_following:
                self._callbacks.append(callback)
                return
        callback(self)

    def wait(self) -> None:
        """Blocks until then."""
        woken = threading.Event()
        self.add_done_callback(lambda _: woken.set())
        woken.wait()

    def failure(self) -> EngineError:
        """After FAILED: the error, for this request alone."""
        return copy(self._error) if self._error is not None else InternalError("this lookup has not failed")

    # --- for whoever computes ---------------------------------------------------------------------------------------

    def keep(
        self, recording: Heard, windows: Sequence[Place], answers: Sequence[Computed], *, cost_ns: int = 0
    ) -> None:
        """It is computed, by the model of the key alone: kept, and told to whoever waits for it.

        `cost_ns`: about what would have been saved if it had been found.
        """
        self._asked.bypass.computed(cost_ns)
        value = encoded(recording, windows, answers)
        if value is None:
            self.keep_nothing()
            return
        record, is_kept = self._levels.keep(self.key, value, self._asked)
        leader, self._leader = self._leader, None  # not before: what raises until here is told by `fail`
        if leader is not None:
            leader.finish(record, is_kept=is_kept)

    def keep_nothing(self) -> None:
        """It is computed, but not by the model of the key alone: whoever waits for it computes by itself."""
        leader, self._leader = self._leader, None
        if leader is not None:
            leader.disperse()

    def fail(self, error: BaseException) -> None:
        """It is not computed. Whoever waits for it gets the same error if its input is to blame, or tries itself."""
        leader, self._leader = self._leader, None
        if leader is None:
            return
        if isinstance(error, _OF_THE_INPUT):
            leader.fail(error)
        else:
            leader.release()

    def let_go(self) -> None:
        """Nobody asks any more. Idempotent."""
        with self._lock:
            self._is_over = True
            self._is_asking = self._is_following = False
            if self.found is None and self._error is None:
                self._error = ClientGone()
            follower, self._follower = self._follower, None
            leader, self._leader = self._leader, None
            callbacks, self._callbacks = self._callbacks, []
        if follower is not None:
            follower.cancel()
        if leader is not None:
            leader.release()
        _call(callbacks, self)

    # --- what comes -------------------------------------------------------------------------------------------------

    def _begin(self, key: bytes, classes: int) -> None:
        """Another question about the same file: the model was replaced since the last one."""
        with self._lock:
            self.key, self._classes = key, classes
            self.found, self.origin, self._is_asking = None, "", False

    def _answered(self, key: bytes, value: CacheValue | None) -> None:
        """L2 has; in its thread."""
        with self._lock:
            if key != self.key or not self._is_asking:
                return
            self._is_asking = False
            if value is not None:
                self.found, self.origin = value, "l2"
            callbacks, self._callbacks = self._callbacks, []
        _call(callbacks, self)

    def _flown(self, outcome: Outcome) -> None:
        """What came of waiting for somebody else; in any thread."""
        value = decoded(outcome.value, classes=self._classes) if isinstance(outcome, CacheRecord) else None
        with self._lock:
            self._is_following = False
            self._follower = None
            leader = outcome if isinstance(outcome, Leader) else None
            if not self._is_over:
                self._leader, leader = leader, None
                if isinstance(outcome, EngineError):
                    self._error = outcome
                elif value is not None:
                    self.found, self.origin = value, "shared"
                else:
                    self._is_alone = self._leader is None  # what was left is strange: nobody can use it
            callbacks, self._callbacks = self._callbacks, []
        if leader is not None:
            leader.release()
        _call(callbacks, self)


def _call(callbacks: Sequence[Callable[[object], None]], lookup: Lookup) -> None:
    for callback in callbacks:
        callback(lookup)
