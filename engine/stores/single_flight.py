"""One computation for all who want the same answer at the same time, in whichever frontend they are.

    flight = flights.join(key, level, deadline_ns, on_done)

    CacheRecord   it was computed in the meantime: nothing else happens
    Leader        compute, keep the value in L1, and then end it: finish, fail, disperse or release
    Follower      `on_done(outcome)` comes, in any thread: a CacheRecord, an EngineError (the leader's, or
                  DeadlineExceeded) or a Leader, which is to compute now; `cancel()` unless it came

`level`: one of LEVELS, of the request; nobody waits behind a lower one. `key`: 32 bytes.

A leader holds a kernel lock on a byte of its key (`FlightGround`), which dies with it. It keeps the value in L1 first
and gives the lock back then: whoever finds the lock free and nothing in L1 knows that nothing will come, and leads.
Those who wait for a leader in their own process are told by it; for all others one thread looks, at lock and L1, every
few milliseconds. Without L1 only those of one process share a computation.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from engine.callbacks import call_back
from engine.clock import LAST_NS, NS_PER_S, now_ns
from engine.core.flight import Flight
from engine.errors import DeadlineExceeded, EngineError
from engine.shm.cache_record import CacheRecord
from engine.shm.forked import not_for_children
from engine.shm.l1 import L1
from engine.stores.flight_ground import FlightGround, Left
from engine.stores.flight_roles import Follower, Leader, Outcome
from engine.stores.ticker import Ticker

_LOOK_NS = 3_000_000  # arbitrary: between two looks, small beside any computation that is worth waiting for
_PAUSES_PER_LOOK = 20  # however many wait, looking takes at most a twentieth of a core
_CLOSE_S = 5.0


class SingleFlight:
    """Of one process. Thread-safe. In a forked child everybody computes by itself."""

    def __init__(self, count: Callable[[str, int], object]) -> None:
        """`count`: told ("single_flight.leader", 1), follower, takeover; by any thread."""
        self._count = count
        self._ground: FlightGround | None = None
        self._lock = threading.Lock()  # around `_flights`, and steps of a leader; never while anybody is called back
        self._flights: dict[bytes, Flight[Follower]] = {}
        self._closed = False
        self._look_at_ns = LAST_NS  # when the thread looks next; written under the lock
        self._ticker = Ticker(self._look, name="nightscan-flights")
        not_for_children(self)

    def meet(self, machine_fd: int, l1: L1) -> None:
        """There is a machine segment, or another one than before; both stay the caller's. Raises OSError."""
        ground = FlightGround(machine_fd, l1)
        with self._lock:
            before, self._ground = self._ground, ground
        if before is not None:
            before.close()

    def join(
        self, key: bytes, level: int, deadline_ns: int, on_done: Callable[[Outcome], object]
    ) -> Leader | Follower | CacheRecord:
        """See above. Never waits."""
        with self._lock:
            if self._closed:
                return Leader(self, key, level, is_alone=True)
            flight = self._flights.setdefault(key, Flight())
            found = None if flight.is_led_for(level) else self._try_lead(flight, key, level)
            if found is not None:
                self._tidy(key)
                wakes = False
            else:
                follower = Follower(self, key, level, deadline_ns, now_ns(), on_done)
                flight.followers.append(follower)
                wakes = self._looks_sooner(deadline_ns if flight.heir() is None else now_ns() + _LOOK_NS)
        if wakes:
            self._ticker.wake()
        if found is None:
            self._count("single_flight.follower", 1)
            return follower
        if isinstance(found, Leader):
            self._count("single_flight.leader", 1)
        return found

    def close(self) -> None:
        """Whoever waits still has to compute by itself. Idempotent."""
        with self._lock:
            self._closed = True
            followers = [each for flight in self._flights.values() for each in flight.take_followers()]
            self._flights.clear()
            ground, self._ground = self._ground, None
        self._ticker.close(_CLOSE_S)
        if ground is not None:
            ground.close()
        self._tell_apart(followers)

    def let_go_in_child(self) -> None:
        """The thread does not exist here, and the flights are the parent's."""
        self._lock = threading.Lock()
        self._flights = {}
        self._ground = None
        self._closed = True

    # --- leaders ----------------------------------------------------------------------------------------------------

    def leader_finished(self, leader: Leader, record: CacheRecord, *, is_kept: bool) -> None:
        if not is_kept:
            self._leave(leader, FlightGround.leave_apart)
        _tell(self._end(leader, all_told=True), record)

    def leader_failed(self, leader: Leader, error: EngineError) -> None:
        self._leave(leader, lambda ground, key: ground.leave_error(key, error))
        _tell(self._end(leader, all_told=True), error)

    def leader_dispersed(self, leader: Leader) -> None:
        self._leave(leader, FlightGround.leave_apart)
        self._tell_apart(self._end(leader, all_told=True))

    def leader_released(self, leader: Leader) -> None:
        self._end(leader, all_told=False)
        self._settle(leader.key)
        with self._lock:  # those who waited for it may have to wait for somebody elsewhere now
            flight = self._flights.get(leader.key)
            wakes = flight is not None and flight.heir() is not None and self._looks_sooner(now_ns() + _LOOK_NS)
        if wakes:
            self._ticker.wake()

    def _leave(self, leader: Leader, leave: Callable[[FlightGround, bytes], None]) -> None:
        """Before `_end`: what others may find must be there when they find that nobody leads."""
        ground = self._ground
        if ground is not None and not leader.is_alone and not leader.is_over:
            leave(ground, leader.key)

    def _end(self, leader: Leader, *, all_told: bool) -> list[Follower]:
        """Those who are to be told now."""
        with self._lock:
            flight = self._flights.get(leader.key)
            if leader.is_over or leader.is_alone or flight is None:
                leader.is_over = True
                return []
            leader.is_over = True
            flight.leading.discard(leader.level)
            if self._ground is not None:
                self._ground.give_up(leader.key, leader.level)
            followers = flight.take_followers() if all_told else []
            self._tidy(leader.key)
        return followers

    def _try_lead(self, flight: Flight[Follower], key: bytes, level: int) -> Leader | CacheRecord | None:
        """None: another process leads. Caller holds the lock."""
        if self._ground is not None:
            if not self._ground.try_lead(key, level):
                return None
            record = self._ground.answer(key)  # after the lock was had: now nobody else is about to keep it
            if record is not None:
                self._ground.give_up(key, level)
                return record
        flight.leading.add(level)
        return Leader(self, key, level)

    def _tidy(self, key: bytes) -> None:
        """Caller holds the lock."""
        flight = self._flights.get(key)
        if flight is not None and flight.is_over:
            del self._flights[key]

    # --- followers --------------------------------------------------------------------------------------------------

    def follower_cancelled(self, follower: Follower) -> bool:
        with self._lock:
            flight = self._flights.get(follower.key)
            if flight is None or follower not in flight.followers:
                return False
            flight.followers.remove(follower)
            self._tidy(follower.key)
        return True

    def _tell_apart(self, followers: Iterable[Follower]) -> None:
        for follower in followers:
            _tell([follower], Leader(self, follower.key, follower.level, is_alone=True))

    def _looks_sooner(self, due_ns: int) -> bool:
        """Whether the thread must be woken to look then. Caller holds the lock."""
        if due_ns >= self._look_at_ns:
            return False
        self._look_at_ns = due_ns
        return True

    # --- the thread -------------------------------------------------------------------------------------------------

    def _look(self) -> float | None:
        """One look for everybody who waits; the seconds until the next."""
        started_ns = now_ns()
        with self._lock:
            expired = [each for each in self._waiting() if each.deadline_ns <= started_ns]
            keys = [key for key, flight in self._flights.items() if flight.heir() is not None]
        _tell([each for each in expired if self.follower_cancelled(each)], DeadlineExceeded())
        for key in keys:
            self._settle(key)
        return self._pause_s(started_ns)

    def _pause_s(self, started_ns: int) -> float | None:
        look_ns = max(_LOOK_NS, _PAUSES_PER_LOOK * (now_ns() - started_ns))
        with self._lock:
            due_ns = min((each.deadline_ns for each in self._waiting()), default=LAST_NS)
            if any(flight.heir() is not None for flight in self._flights.values()):
                due_ns = min(due_ns, now_ns() + look_ns)
            self._look_at_ns = due_ns
        return None if due_ns == LAST_NS else max(0.0, (due_ns - now_ns()) / NS_PER_S)

    def _waiting(self) -> Iterable[Follower]:
        """Caller holds the lock."""
        return (each for flight in self._flights.values() for each in flight.followers)

    def _settle(self, key: bytes) -> None:
        """Tells those who wait for somebody elsewhere what there is, or has one of them lead."""
        with self._lock:
            flight, ground = self._flights.get(key), self._ground
            heir = None if flight is None else flight.heir()
            if heir is None:
                return
            # Before L1 is looked into: whoever leads keeps the value first, and gives the lock back then.
            is_led = ground is not None and ground.is_led(key, heir.level)
        left = None if ground is None else ground.what_is_left(key)
        if left is not None:
            self._hand_on(key, left)
        if not is_led:
            self._promote(key)

    def _hand_on(self, key: bytes, left: Left) -> None:
        """Tells everybody whom it concerns: of an error only who waited when it happened, or it would be cached."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is None:
                return
            at_ns = LAST_NS if left.at_ns is None else left.at_ns
            told = [each for each in flight.followers if each.since_ns <= at_ns]
            flight.followers = [each for each in flight.followers if each.since_ns > at_ns]
            self._tidy(key)
        if left.outcome is None:
            self._tell_apart(told)
        else:
            _tell(told, left.outcome)

    def _promote(self, key: bytes) -> None:
        """Has the first of those who wait lead, if nobody was quicker."""
        with self._lock:
            flight = self._flights.get(key)
            heir = None if flight is None else flight.heir()
            if flight is None or heir is None:
                return
            found = self._try_lead(flight, key, heir.level)
            if found is None:
                return
            if isinstance(found, Leader):
                flight.followers.remove(heir)
            told = [heir] if isinstance(found, Leader) else flight.take_followers()
            self._tidy(key)
        if isinstance(found, Leader):
            self._count("single_flight.takeover", 1)
        _tell(told, found)


def _tell(followers: Iterable[Follower], outcome: Outcome) -> None:
    for follower in followers:
        is_told = call_back("somebody waited for an answer", follower.on_done, outcome)
        if not is_told and isinstance(outcome, Leader):
            outcome.release()  # nobody is to wait for one that is gone
