"""The state that is explored: shared words, one program counter per process, and what only the checker knows.

Everything is an immutable tuple, so that a state is its own key. `at` is where a process stands; the other fields of a
process are its local variables and die with it. Fields of a FREE slot are zero: nobody may read them.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

FREE, WRITING, READY, LEASED, REPLIED = range(5)
STATE_NAMES = ("FREE", "WRITING", "READY", "LEASED", "REPLIED")
DROPPED = -1  # a reply that says "not computed"


class Fate(IntEnum):
    """What became of a request; only the checker sees it."""

    UNBORN = 0
    OUTSTANDING = 1
    ANSWERED = 2
    CANCELLED = 3
    CONVICTED = 4
    REFUSED = 5
    ORPHANED = 6  # its frontend died: nobody waits for it


class Withdrawal(IntEnum):
    """Where a ticket stands on its way out."""

    NONE = 0  # the caller waits
    TRY = 1  # abandoned; the lease is to be tried now
    LATER = 2  # abandoned; the lease was busy, to be tried again after the next event
    LEASED = 3  # abandoned; it comes home by REPLIED or by a death, never earlier


class Slot(NamedTuple):
    """One slot: its word (generation, name, state), its fields, its payload and reply as request numbers."""

    state: int = FREE
    generation: int = 0
    name: int = 0
    payload: int = 0
    reply: int = 0
    cancel: int = 0
    started: int = 0
    attempt: int = 0
    isolate: int = 0


class Frontend(NamedTuple):
    """The owner of one lane."""

    alive: bool
    at: str
    tickets: tuple[int, ...]  # request number per slot, 0: the slot is on the free list
    withdrawals: tuple[int, ...]
    unsent: int  # requests still to come from its callers
    sent: int  # counts over all owners of the lane, so that request numbers are unique
    due: bool = False  # the doorbell is to be rung when this turn of the event loop ends
    notices: frozenset[int] = frozenset()  # names whose pidfd is readable and not yet dealt with
    cursor: int = 0
    dead_name: int = 0


class Flight(NamedTuple):
    """A batch between staging and reply."""

    taken: tuple[tuple[int, int], ...]  # slot and the generation seen when it was chosen
    work: tuple[int, ...] = ()  # request number of each taken slot from its launch on; DROPPED: not to be computed
    launched: bool = False


class Instance(NamedTuple):
    """A worker that takes batches. The fields of `Flight` are here for the batch that is taken or replied to now."""

    alive: bool
    at: str
    name: int
    flights: tuple[Flight, ...] = ()  # in the order of their replies; only the last may be not launched yet
    taken: tuple[tuple[int, int], ...] = ()
    work: tuple[int, ...] = ()
    cursor: int = 0
    left: bool = False  # READY work was seen and not taken
    checked: bool = False  # generation re-read just before the next store


class Supervisor(NamedTuple):
    """Sweeps lanes of dead frontends; the rest of its work is single steps."""

    at: str = "idle"
    lane: int = 0
    cursor: int = 0


class Budget(NamedTuple):
    """How often something may still go wrong."""

    instance_kills: int
    frontend_kills: int
    supervisor_kills: int
    cancels: int
    orders: int = 0


class State(NamedTuple):
    """One moment of the whole machine."""

    lease: int  # 0: free, else the process number of the holder
    doorbell: bool
    reply_bells: tuple[bool, ...]
    closing: bool
    detaching: bool  # instances were told to leave
    names: int  # the name counter
    ordered: frozenset[int]  # names that the supervisor was about to kill
    slots: tuple[Slot, ...]  # lane * slots_per_lane + index
    frontends: tuple[Frontend, ...]
    instances: tuple[Instance, ...]
    supervisor: Supervisor
    fates: tuple[int, ...]  # by request number
    deaths: tuple[int, ...]  # by request number: instances that died of themselves with it on the device
    beside: tuple[int, ...]  # by request number: another that was on the device in the latest of these deaths
    budget: Budget
