"""Whether and when a dead instance is started again.

An instance that never booted will most likely fail again: a few attempts with growing pauses, then the seat is given
up with the last reason. One that ran and then died is started again at once; only if it keeps dying young do the pauses
grow. A seat in which an instance has run is never given up, because it has shown that it can work: after the same few
attempts it counts as hopeless, which the users are told, and is tried on. So is one whose instance loaded another model
than its version has, at growing pauses: the old weights may be put back. So is one for which the machine has no process
to give just now: that says nothing of the model.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import Enum

from engine.core.lifecycle import InstanceState


class Death(str, Enum):
    """How an instance ended, as far as starting it again is concerned."""

    ASKED = "asked"  # it was told to leave
    REPORTED = "reported"  # it never booted, and said why
    NEVER_BOOTED = "never_booted"  # it died before it was ready, in silence
    RAN = "ran"  # it was ready before
    CHANGED = "changed"  # it loaded another model than the version has, and was turned away
    UNBORN = "unborn"  # no process could be had: the machine is short of something


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """Limits and pauses. The values are judgement; tests shrink them."""

    reported_attempts: int = 2  # an error with a text seldom goes away; device memory of a predecessor does
    silent_attempts: int = 3
    first_pause_s: float = 0.25
    first_change_pause_s: float = 1.0  # each try loads a whole model, beside those that serve
    longest_pause_s: float = 30.0
    steady_s: float = 30.0  # having run this long wipes the record

    def pause_s(self, failures: int) -> float:
        """The pause after this many failures in a row (at least 1): doubling, bounded."""
        return self._doubled_s(self.first_pause_s, failures)

    def change_pause_s(self, changes: int) -> float:
        """The same after this many tries in a row that found another model."""
        return self._doubled_s(self.first_change_pause_s, changes)

    def _doubled_s(self, first_s: float, times: int) -> float:
        return min(self.longest_pause_s, first_s * 2.0 ** min(times - 1, 32))


@dataclass(frozen=True, slots=True)
class SeatRecord:
    """What happened lately in one seat of a pool."""

    has_run: bool = False  # ever
    boot_failures: int = 0  # in a row
    young_deaths: int = 0  # in a row, after being ready for less than `steady_s`
    changes: int = 0  # in a row: it loaded another model
    unborn: int = 0  # in a row: no process could be had


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with the seat. `restart_in_s` is None when the seat stays empty."""

    record: SeatRecord
    restart_in_s: float | None
    hopeless: bool = False  # nobody should wait for this seat


def classify(state: InstanceState) -> Death:
    """The kind of death, by the state in which it came."""
    if state is InstanceState.LEAVING:
        return Death.ASKED
    if state is InstanceState.FAILED:
        return Death.REPORTED
    return Death.RAN if state is InstanceState.READY else Death.NEVER_BOOTED


def decide(record: SeatRecord, death: Death, *, ran_s: float, policy: RestartPolicy) -> Verdict:
    """The next step for a seat whose instance died, having been ready for `ran_s` seconds (0 if never)."""
    if death is Death.ASKED:
        return Verdict(SeatRecord(), None)
    if death is Death.RAN:
        return _after_running(record, ran_s, policy)
    if death is Death.CHANGED:
        changes = record.changes + 1
        return Verdict(dataclasses.replace(record, changes=changes), policy.change_pause_s(changes), hopeless=True)
    if death is Death.UNBORN:
        unborn = record.unborn + 1
        now = dataclasses.replace(record, unborn=unborn)
        return Verdict(now, policy.pause_s(unborn), hopeless=unborn >= policy.silent_attempts)
    failures = record.boot_failures + 1
    now = dataclasses.replace(record, boot_failures=failures, unborn=0)
    attempts = policy.reported_attempts if death is Death.REPORTED else policy.silent_attempts
    hopeless = failures >= attempts
    return Verdict(now, None if hopeless and not record.has_run else policy.pause_s(failures), hopeless)


def _after_running(record: SeatRecord, ran_s: float, policy: RestartPolicy) -> Verdict:
    """The first young death costs no pause: most deaths are single events, and work is waiting."""
    if ran_s >= policy.steady_s:
        return Verdict(SeatRecord(has_run=True), 0.0)
    deaths = record.young_deaths + 1
    pause_s = 0.0 if deaths == 1 else policy.pause_s(deaths - 1)
    return Verdict(SeatRecord(has_run=True, young_deaths=deaths), pause_s)
