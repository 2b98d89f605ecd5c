"""One request's question to the cache, from the first look to what is kept of its answer.

It is asked in steps, none of which waits: `find` looks into L1 and asks L2, `advance` says whether the request is to be
computed now, and `add_done_callback` calls back when there is something new to advance by.
"""

from __future__ import annotations

import enum
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from engine.errors import EngineError, InternalError
from engine.stores.cache_key import cache_key
from engine.stores.cache_value import CacheValue, Computed, Heard, Place, encoded


class Standing(enum.Enum):
    """What a lookup has come to."""

    WAITING = enum.auto()
    FOUND = enum.auto()
    FAILED = enum.auto()
    TO_COMPUTE = enum.auto()


class Levels(Protocol):
    """Where a lookup looks, and where it keeps. None of it waits."""

    def from_l1(self, key: bytes, classes: int, *, is_counted: bool) -> CacheValue | None:
        """What this machine has."""

    def ask_l2(self, key: bytes, classes: int, answered: Callable[[CacheValue | None], object]) -> bool:
        """Whether all machines are asked, and `answered` will be called, in any thread, soon whatever happens."""

    def keep(self, key: bytes, value: bytes) -> bool:
        """In both; whether this machine has it now."""


class Lookup:
    """Made by `TwoLevelCache.lookup`. Thread-safe; what one thread advances another may let go of."""

    __slots__ = ("found", "key", "origin", "_callbacks", "_classes", "_digest", "_is_asking", "_levels", "_lock")

    def __init__(self, levels: Levels, digest_of_file: bytes) -> None:
        self._levels = levels
        self._digest = digest_of_file
        self.key = b""  # of what was looked for last
        self.found: CacheValue | None = None
        self.origin = ""  # where it was found: "l1", "l2", or "shared" with a request that computed it meanwhile
        self._classes = 0
        self._is_asking = False  # L2, about `key`
        self._callbacks: list[Callable[[object], None]] = []
        self._lock = threading.Lock()  # around what changes from here on; held for no call of anybody else

    def find(self, scope_digest: bytes, classes: int) -> None:
        """Looks into L1; where `found` stays None, L2 is asked. Again, later, only L1 is looked into.

        `classes`: of the model that the scope names.
        """
        key = cache_key(scope_digest, self._digest)
        is_first = key != self.key
        if is_first:
            with self._lock:
                self.key, self._classes, self._is_asking = key, classes, False
                self.found, self.origin = None, ""
        value = self._levels.from_l1(key, classes, is_counted=is_first)
        if value is not None:
            with self._lock:
                self.found, self.origin = value, "l1"
        elif is_first:
            self._ask_l2(key, classes)

    def advance(self, level: int, deadline_ns: int) -> Standing:
        """Where it stands now. TO_COMPUTE is said once: whoever is told so calls `keep`, `fail` or `let_go` at last.

        `level`: of the request, -1 bulk to 1 interactive.
        """
        with self._lock:
            if self.found is not None:
                return Standing.FOUND
            if self._is_asking:
                return Standing.WAITING
        return Standing.TO_COMPUTE

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        """Calls back, in any thread, when `advance` may say something else than WAITING; at once if so already."""
        with self._lock:
            if self._is_asking:
                self._callbacks.append(callback)
                return
        callback(self)

    def wait(self) -> None:
        """Blocks until then."""
        woken = threading.Event()
        self.add_done_callback(lambda _: woken.set())
        woken.wait()

    def failure(self) -> EngineError:
        """Why there is no answer, after FAILED."""
        return InternalError("a lookup that has not failed")

    # --- for whoever computes ---------------------------------------------------------------------------------------

    def keep(self, recording: Heard, windows: Sequence[Place], answers: Sequence[Computed]) -> None:
        """It is computed, by the model of the key alone."""
        value = encoded(recording, windows, answers)
        if value is not None:
            self._levels.keep(self.key, value)

    def keep_nothing(self) -> None:
        """It is computed, but not by the model of the key alone."""

    def fail(self, error: BaseException) -> None:
        """It is not computed."""

    def let_go(self) -> None:
        """Nobody asks any more. Idempotent."""

    # --- what comes -------------------------------------------------------------------------------------------------

    def _ask_l2(self, key: bytes, classes: int) -> None:
        self._is_asking = True
        if not self._levels.ask_l2(key, classes, functools.partial(self._answered, key)):
            self._is_asking = False

    def _answered(self, key: bytes, value: CacheValue | None) -> None:
        """In L2's thread."""
        with self._lock:
            if key != self.key or not self._is_asking:
                return
            self._is_asking = False
            if value is not None:
                self.found, self.origin = value, "l2"
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)
