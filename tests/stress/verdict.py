"""Do the ledgers agree with each other? What must hold for every request, whoever was killed when.

Entries of the dead may miss the last thing they did, never show one that they did not do: so each rule compares what
was noted before a store on one side with what was noted after a store on the other.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tests.stress.ledger import Entry, keys, names, of_kind

Entries = NDArray[np.uint64]


@dataclass
class Evidence:
    """All ledgers of one run."""

    survivors: list[Entries] = field(default_factory=list)  # producers that came to a regular end
    killed: list[Entries] = field(default_factory=list)  # producers that did not
    consumers: dict[int, Entries] = field(default_factory=dict)  # by name, dead or not
    dead_names: set[int] = field(default_factory=set)

    def produced(self, kind: Entry) -> Entries:
        """Entries of one kind of all producers."""
        return np.concatenate([of_kind(entries, kind) for entries in (*self.survivors, *self.killed, _NONE)])

    def consumed(self, kind: Entry) -> Entries:
        """Entries of one kind of all consumers."""
        return np.concatenate([of_kind(entries, kind) for entries in (*self.consumers.values(), _NONE)])


_NONE = np.zeros(0, dtype=np.uint64)


def violations(evidence: Evidence) -> list[str]:
    """Everything that is wrong, in words; empty if nothing is."""
    return [
        *_answered_once(evidence),
        *_survivors_left_nothing(evidence),
        *_computed_once_but_for_deaths(evidence),
        *_redispatched_after_deaths_only(evidence),
        *_nothing_lost_by_deaths(evidence),
    ]


def _answered_once(evidence: Evidence) -> list[str]:
    ended = keys(np.concatenate([evidence.produced(Entry.ANSWERED), evidence.produced(Entry.ABANDONED)]))
    ordered = np.sort(ended)
    twice = int((ordered[1:] == ordered[:-1]).sum())
    return [f"{twice} requests were answered or abandoned twice"] if twice else []


def _survivors_left_nothing(evidence: Evidence) -> list[str]:
    found = []
    for entries in evidence.survivors:
        submitted = keys(of_kind(entries, Entry.SUBMITTED))
        ended = keys(np.concatenate([of_kind(entries, Entry.ANSWERED), of_kind(entries, Entry.ABANDONED)]))
        if lost := _missing(submitted, ended).size:
            found.append(f"{lost} requests of a surviving producer were never answered")
    return found


def _computed_once_but_for_deaths(evidence: Evidence) -> list[str]:
    """Taken at most once, and once more for every re-dispatch."""
    taken, times = np.unique(keys(evidence.consumed(Entry.LEASED)), return_counts=True)
    again = Counter(keys(evidence.produced(Entry.REDISPATCHED)).tolist())
    doubled = [key for key, n in zip(taken.tolist(), times.tolist(), strict=True) if n > 1 and n > 1 + again[key]]
    return [f"{len(doubled)} requests were taken twice without a death: {doubled[:5]}"] if doubled else []


def _redispatched_after_deaths_only(evidence: Evidence) -> list[str]:
    """Each re-dispatch and each verdict names a dead instance that had really chosen that request."""
    found = []
    for kind in (Entry.REDISPATCHED, Entry.CONVICTED):
        entries = evidence.produced(kind)
        for name in np.unique(names(entries)).tolist():
            mine = keys(entries[names(entries) == np.uint64(name)])
            if name not in evidence.dead_names:
                found.append(f"{mine.size} x {kind.name} for the living instance {name}")
            chosen = keys(of_kind(evidence.consumers[name], Entry.CHOSEN))
            if wrong := _missing(mine, chosen).size:
                found.append(f"{wrong} x {kind.name} of what instance {name} never took")
    return found


def _nothing_lost_by_deaths(evidence: Evidence) -> list[str]:
    """What a dead instance held, and whose producer lives and waits, was re-dispatched or got a verdict."""
    handled = np.concatenate([evidence.produced(Entry.REDISPATCHED), evidence.produced(Entry.CONVICTED)])
    handled_by_name = handled & np.uint64((1 << 60) - 1)
    of_the_dead = np.sort(keys(np.concatenate([*evidence.killed, _NONE])))
    abandoned = np.sort(keys(evidence.produced(Entry.ABANDONED)))
    known = np.sort(keys(np.concatenate([*evidence.survivors, _NONE])))
    found = []
    for name in sorted(evidence.dead_names):
        entries = evidence.consumers[name]
        held = _missing(keys(of_kind(entries, Entry.LEASED)), keys(of_kind(entries, Entry.REPLYING)))
        open_ones = held[~_is_in(held, of_the_dead) & ~_is_in(held, abandoned) & _is_in(held, known)]
        named = open_ones | np.uint64(name) << np.uint64(44)
        if lost := _missing(named, handled_by_name).size:
            found.append(f"{lost} requests held by instance {name} at its death were not taken up")
    return found


def _missing(values: Entries, among: Entries) -> Entries:
    """Those of `values` that are not in `among`."""
    found: Entries = values[~_is_in(values, np.sort(among))]
    return found


def _is_in(values: Entries, ordered: Entries) -> NDArray[np.bool_]:
    """Which of `values` are in `ordered`, which is sorted. `np.isin` hashes, and these keys collide: minutes."""
    at = np.searchsorted(ordered, values)
    inside = at < ordered.size
    inside[inside] = ordered[at[inside]] == values[inside]
    return inside
