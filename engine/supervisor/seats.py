"""The seats of a pool: a place for each of its instances, and what is known of those that had it."""

from __future__ import annotations

from collections.abc import Iterator

from engine.core.lifecycle import InstanceState
from engine.core.restart import Death, RestartPolicy, SeatRecord, decide
from engine.supervisor.instance import Instance
from engine.supervisor.loop import Timer


class Seat:
    """At most one of `instance` and `timer` is set."""

    def __init__(self, index: int, device: str) -> None:
        self.index = index
        self.device = device
        self.instance: Instance | None = None
        self.timer: Timer | None = None  # fills it again
        self.is_settled = True  # not between a death in it and what follows from that
        self.record = SeatRecord()
        self.hopeless = False
        self.reason = ""  # of the last failure
        self.restarts = 0

    @property
    def works(self) -> bool:
        """Whether the instance in it takes work."""
        return self.instance is not None and self.instance.state is InstanceState.READY

    @property
    def is_vacant(self) -> bool:
        """Whether it is to be filled now."""
        return self.instance is None and self.timer is None and self.is_settled and not self.hopeless

    def worked(self) -> None:
        """Its instance is ready."""
        self.hopeless, self.reason = False, ""

    def lost(self, death: Death, reason: str, *, ran_s: float, policy: RestartPolicy) -> float | None:
        """Its instance is dead; the pause in seconds after which to fill it again, None for never."""
        verdict = decide(self.record, death, ran_s=ran_s, policy=policy)
        self.record, self.hopeless, self.reason = verdict.record, verdict.hopeless, reason
        self.is_settled = True
        return verdict.restart_in_s


class Seats:
    """By index."""

    def __init__(self) -> None:
        self._all: list[Seat] = []

    def __iter__(self) -> Iterator[Seat]:
        return iter(list(self._all))

    def __len__(self) -> int:
        return len(self._all)

    @property
    def first_to_go(self) -> Seat:
        """The last one in which nobody works; the last one, where all do. What serves is not to end before the rest."""
        return max(self._all, key=lambda seat: (not seat.works, seat.index))

    def add(self, seat: Seat) -> None:
        self._all.append(seat)
        self._all.sort(key=lambda each: each.index)

    def add_next(self, devices: tuple[str, ...]) -> None:
        """One more, with the lowest index that is free, on the device whose turn it is."""
        taken = {seat.index for seat in self._all}
        index = next(number for number in range(len(taken) + 1) if number not in taken)
        self.add(Seat(index, devices[index % len(devices)]))

    def index_like(self, wanted: int) -> int:
        """`wanted`, unless a seat has it already: two instances of a predecessor may have had the same."""
        taken = {seat.index for seat in self._all}
        return wanted if wanted not in taken else max(taken) + 1

    def remove(self, seat: Seat) -> None:
        self._all.remove(seat)

    def clear(self) -> None:
        self._all.clear()

    def of(self, instance: Instance) -> Seat | None:
        """Where it sits; None for one that is on its way out."""
        return next((seat for seat in self._all if seat.instance is instance), None)

    def instances(self) -> list[Instance]:
        """Everybody that sits."""
        return [seat.instance for seat in self._all if seat.instance is not None]

    def vacant(self) -> list[Seat]:
        """Those that are to be filled now."""
        return [seat for seat in self._all if seat.is_vacant]

    @property
    def working(self) -> int:
        """Instances that take work."""
        return sum(seat.works for seat in self._all)

    @property
    def hopeless(self) -> bool:
        """Whether nobody takes work and no seat deserves waiting for."""
        return not self.working and all(seat.hopeless for seat in self._all)

    @property
    def settled(self) -> bool:
        """Whether every seat is either taken by an instance that works, or hopeless."""
        return all(seat.hopeless or seat.works for seat in self._all)

    @property
    def restarts(self) -> int:
        """How often a dead instance was replaced."""
        return sum(seat.restarts for seat in self._all)

    @property
    def reason(self) -> str:
        """Why a seat failed last, empty if none did."""
        return next((seat.reason for seat in self._all if seat.reason), "")
