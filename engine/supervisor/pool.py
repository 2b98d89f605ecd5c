"""The instances of one version: a seat for each, filled at once and filled again after a death.

What an instance says is passed on to the version; whether its seat is filled again is decided by `engine.core.restart`.
"""

from __future__ import annotations

import functools
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from engine.clock import NS_PER_S, now_ns
from engine.core.lifecycle import InstanceEvent, InstanceState
from engine.core.restart import Death, SeatRecord, classify, decide
from engine.errors import ProtocolError
from engine.launch.identity import Identity
from engine.supervisor.children import describe_exit, reap, spawn
from engine.supervisor.instance import Instance
from engine.supervisor.loop import Loop, Timer
from engine.supervisor.options import SupervisorOptions
from engine.supervisor.parcel import Parcel
from engine.supervisor.peer import Peer

LONGEST_LOOK_AWAY_S = 60.0  # between two looks at what a leaving instance still holds
UNDRESS_WITHIN_S = 0.1  # from the last reply to the end of the process
UNDRESS_POISONED_WITHIN_S = 2.0  # a device that is lost can hold its process for a while

_log = logging.getLogger(__name__)


class PoolOwner(Protocol):
    """Whom a pool tells what happened."""

    def instance_connected(self, instance: Instance) -> None: ...
    def instance_loaded(self, instance: Instance, parcel: Parcel) -> None: ...
    def instance_ready(self, instance: Instance) -> None: ...
    def instance_died(self, instance: Instance) -> None: ...
    def latest_deadline_ns(self, instance: Instance, *, arrived_by_ns: int) -> int | None: ...
    def death_ordered(self, instance: Instance) -> None: ...
    def pool_changed(self) -> None: ...


class Seat:
    """A place for one instance. At most one of `instance` and `timer` is set."""

    def __init__(self, index: int, device: str) -> None:
        self.index = index
        self.device = device
        self.record = SeatRecord()
        self.instance: Instance | None = None
        self.timer: Timer | None = None
        self.hopeless = False
        self.reason = ""  # of the last failure
        self.restarts = 0


@dataclass(frozen=True)
class _Obituary:
    """What a death means for a seat, while it is being dealt with."""

    seat: Seat | None
    death: Death
    reason: str
    ran_s: float


class Pool:
    """The seats of one version, and the instances that are on their way out."""

    def __init__(
        self, loop: Loop, options: SupervisorOptions, owner: PoolOwner, keys: dict[str, Callable[[Peer], None]]
    ) -> None:
        """`keys`: where a new instance's key is put, with whom to call when it says hello."""
        self._loop = loop
        self._options = options
        self._owner = owner
        self._keys = keys
        self._leaving: list[Instance] = []
        self._deaths: dict[Instance, _Obituary] = {}
        self._closed = False
        self.last_death = ""  # how an instance that was not told to leave ended last; unlike `reason` it is kept
        self.seats: list[Seat] = []
        self.short = ""  # why it has fewer seats than wished; set by whoever resizes it

    # --- size -------------------------------------------------------------------------------------------------------

    def resize(self, size: int, devices: tuple[str, ...]) -> None:
        """So many seats from now on. New ones are filled at once; instances of surplus ones finish and leave."""
        while len(self.seats) > size:
            self._vacate(self.seats.pop())
        while len(self.seats) < size:
            taken = {seat.index for seat in self.seats}
            index = next(number for number in range(size) if number not in taken)
            self._add(Seat(index, devices[index % len(devices)]))
        for seat in self.vacant():
            self._start(seat)

    def vacant(self) -> list[Seat]:
        """Seats that are to be filled now: not those whose last death is not settled yet."""
        unsettled = [obituary.seat for obituary in self._deaths.values()]
        return [
            seat
            for seat in self.seats
            if seat.instance is None and seat.timer is None and not seat.hopeless and seat not in unsettled
        ]

    def _add(self, seat: Seat) -> None:
        """In order, so that the last seats are the first to go."""
        self.seats.append(seat)
        self.seats.sort(key=lambda each: each.index)

    def empty(self) -> None:
        """Everybody leaves: those that take work finish it, those that are still booting are killed."""
        self._closed = True
        while self.seats:
            self._vacate(self.seats.pop())

    def stop_filling(self) -> None:
        """No seat is filled any more: who is still booting is killed, who works is not told to leave."""
        self._closed = True
        for seat in list(self.seats):
            if seat.instance is None or seat.instance.state.is_booting:
                self.seats.remove(seat)
                self._vacate(seat)

    def kill(self) -> None:
        """Ends every process at once."""
        for instance in self.instances():
            self.end(instance)

    def end(self, instance: Instance) -> None:
        """Kills it, by order: its death counts against none of the requests that it was computing."""
        if instance.state is not InstanceState.DEAD:
            self._owner.death_ordered(instance)
            instance.kill()

    # --- what there is ----------------------------------------------------------------------------------------------

    def instances(self) -> Iterator[Instance]:
        """Everybody that lives, those that leave included."""
        yield from [seat.instance for seat in self.seats if seat.instance is not None]
        yield from list(self._leaving)

    def leaving(self) -> list[Instance]:
        """Those on their way out."""
        return list(self._leaving)

    def named(self) -> list[Instance]:
        """Everybody that has a name in the segment, by name."""
        return sorted((each for each in self.instances() if each.name), key=lambda each: each.name)

    @property
    def ready(self) -> int:
        """Instances that take work."""
        return sum(each.state is InstanceState.READY for each in self.instances())

    @property
    def hopeless(self) -> bool:
        """Whether nobody takes work and no seat deserves waiting for."""
        return not self.ready and all(seat.hopeless for seat in self.seats)

    @property
    def settled(self) -> bool:
        """Whether every seat is either taken by an instance that works, or hopeless."""
        return all(
            seat.hopeless or (seat.instance is not None and seat.instance.state is InstanceState.READY)
            for seat in self.seats
        )

    @property
    def reason(self) -> str:
        """Why a seat failed last, empty if none did."""
        return next((seat.reason for seat in self.seats if seat.reason), "")

    # --- a life -----------------------------------------------------------------------------------------------------

    def adopt(self, identity: Identity, pidfd: int, name: int, *, seat: int, device: str) -> Instance:
        """The seat of an instance of a predecessor, as its row in the segment has it.

        Two may have had the same: one that was leaving and the one that took its place.
        """
        taken = {each.index for each in self.seats}
        index = seat if seat not in taken else max(taken) + 1
        return self._seated(Seat(index, device), identity, pidfd, name)

    def _seated(self, seat: Seat, identity: Identity, pidfd: int, name: int) -> Instance:
        self._add(seat)
        found = Instance.adopted(seat=seat.index, device=seat.device, identity=identity, pidfd=pidfd, name=name)
        seat.instance = found
        seat.record = SeatRecord(has_run=True)
        self._loop.watch(pidfd, functools.partial(self._died, found))
        return found

    def connect(self, instance: Instance, peer: Peer) -> None:
        """From here on what `peer` says is what `instance` says."""
        instance.peer = peer
        peer.on_parcel = functools.partial(self._on_parcel, instance)
        if instance.state.allows(InstanceEvent.CONNECTED):
            with instance.advancing(InstanceEvent.CONNECTED):
                self._owner.instance_connected(instance)
        elif instance.state is InstanceState.LEAVING:
            instance.send({"type": "detach"})  # it was not connected when it was told

    def _start(self, seat: Seat) -> None:
        seat.timer = None
        if seat.instance is not None or seat not in self.seats:
            return
        key = secrets.token_hex(8)
        command = [*self._options.instance_command, "--runtime-dir", str(self._options.runtime_dir), "--key", key]
        try:
            child = spawn(command)
        except OSError as error:
            self._after_death(seat, Death.NEVER_BOOTED, f"cannot start a process: {error}", ran_s=0.0)
            self._owner.pool_changed()
            return
        instance = Instance(
            key=key, seat=seat.index, device=seat.device, identity=child.identity, pidfd=child.pidfd
        )
        seat.instance = instance
        self._keys[key] = functools.partial(self._hello, instance)
        self._loop.watch(child.pidfd, functools.partial(self._died, instance))

    def _hello(self, instance: Instance, peer: Peer) -> None:
        if peer.pid != instance.identity.pid:
            raise ProtocolError(f"pid {peer.pid} has the key of instance {instance.identity.pid}")
        self.connect(instance, peer)

    def _on_parcel(self, instance: Instance, parcel: Parcel) -> None:
        if parcel.type == "detached":
            # It has replied to everything and stores nothing any more. What is left is an interpreter with torch in it
            # taking itself apart, which takes most of a second.
            self._loop.call_after(UNDRESS_WITHIN_S, functools.partial(self.end, instance))
            return
        if parcel.type == "poisoned":
            instance.error = parcel.text("error")  # it ran: its death, which follows by itself, is no failed start
            self._loop.call_after(UNDRESS_POISONED_WITHIN_S, functools.partial(self._finish_off, instance))
            return
        if parcel.type == "report":
            self._note(instance, parcel)
            return
        event = _EVENTS.get(parcel.type)
        if event is None:
            raise ProtocolError(f"an instance does not say {parcel.type!r}")
        if not instance.state.allows(event):
            return  # on its way out, or its news crossed an order of ours
        if event is InstanceEvent.REPORTED_FAILURE:
            instance.error = parcel.text("error")
            self._see_off(instance)
        with instance.advancing(event):
            if event is InstanceEvent.LOADED:
                self._owner.instance_loaded(instance, parcel)
            elif event is InstanceEvent.WARMED:
                instance.warmup_ms = parcel.mapping("warmup_ms")
                seat = self._seat_of(instance)
                if seat is not None:
                    seat.hopeless, seat.reason = False, ""
                self._owner.instance_ready(instance)

    def _note(self, instance: Instance, parcel: Parcel) -> None:
        """What an instance that works tells of itself, for status and log."""
        warnings = [str(each) for each in parcel.sequence("warnings")]
        for warning in warnings:
            if warning not in instance.warnings:
                _log.warning("instance %d: %s", instance.identity.pid, warning)
        before, instance.max_batch, instance.warnings = instance.max_batch, parcel.number("max_batch"), warnings
        if before and instance.max_batch != before:
            _log.warning("instance %d: batches of at most %d from now on", instance.identity.pid, instance.max_batch)

    def turn_away(self, instance: Instance, reason: str) -> None:
        """It loaded another model than this version has: it ends, and its seat is tried again later."""
        instance.error, instance.turned_away = reason, True
        instance.advance(InstanceEvent.REPORTED_FAILURE)
        self.end(instance)

    def refuse(self, instance: Instance, reason: str) -> None:
        """An instance that cannot be used is treated as if it had said so itself."""
        instance.error = reason
        instance.advance(InstanceEvent.REPORTED_FAILURE)
        self.end(instance)

    def _vacate(self, seat: Seat) -> None:
        if seat.timer is not None:
            seat.timer.cancel()
        if seat.instance is not None:
            self._dismiss(seat.instance)
            seat.instance = None

    def _dismiss(self, instance: Instance) -> None:
        self._leaving.append(instance)
        self._keys.pop(instance.key, None)
        was_ready = instance.state is InstanceState.READY
        instance.advance(InstanceEvent.TOLD_TO_LEAVE)
        if was_ready:
            instance.send({"type": "detach"})
            self._see_off(instance)
        else:
            self.end(instance)  # it holds no work, and would not read an order before it has booted

    def _finish_off(self, instance: Instance) -> None:
        """Kills one that said it dies of its work and does not; unlike `end` this counts against that work."""
        if instance.state is not InstanceState.DEAD:
            instance.kill()

    def _see_off(self, instance: Instance) -> None:
        """From now on it is on its way out."""
        instance.leaves_since_ns = now_ns()
        self._loop.call_after(self._options.leaving.idle_ns / NS_PER_S, functools.partial(self._insist, instance))

    def _insist(self, instance: Instance) -> None:
        """Kills an instance that is still there although nobody waits for its work, else looks again later."""
        if instance.state is InstanceState.DEAD:
            return
        policy, told_ns, now = self._options.leaving, instance.leaves_since_ns, now_ns()
        latest_ns = self._owner.latest_deadline_ns(instance, arrived_by_ns=told_ns + policy.idle_ns)
        until_ns = policy.stays_until_ns(told_ns=told_ns, latest_deadline_ns=latest_ns)
        if until_ns > now:
            again_s = min((until_ns - now) / NS_PER_S, LONGEST_LOOK_AWAY_S)
            self._loop.call_after(again_s, functools.partial(self._insist, instance))
            return
        _log.warning("instance %d does not leave; killed", instance.identity.pid)
        self.end(instance)

    def _died(self, instance: Instance) -> None:
        """Watched until the last step is done, so that all are done again should one of them fail."""
        if instance.state is not InstanceState.DEAD:
            if instance.peer is not None:
                instance.peer.hear_out()
            self._deaths[instance] = self._bury(instance)
        self._owner.instance_died(instance)
        obituary = self._deaths.pop(instance)
        if obituary.seat is not None:
            self._after_death(obituary.seat, obituary.death, obituary.reason, ran_s=obituary.ran_s)
        if instance.peer is not None:
            instance.peer.close()
        self._loop.unwatch(instance.pidfd)
        os.close(instance.pidfd)
        self._loop.attempt(self._owner.pool_changed)

    def _bury(self, instance: Instance) -> _Obituary:
        """It is nobody's instance any more; what its end says."""
        death = Death.CHANGED if instance.turned_away else classify(instance.state)
        seat = self._seat_of(instance)
        status = reap(instance.pidfd)  # whatever it said: a child that is not waited for stays as a zombie
        reason = instance.error or f"instance {describe_exit(status)} {_where(instance.state)}"
        obituary = _Obituary(seat=seat, death=death, reason=reason, ran_s=instance.ran_s)
        instance.advance(InstanceEvent.DIED)
        self._keys.pop(instance.key, None)
        if instance in self._leaving:
            self._leaving.remove(instance)
        if seat is not None:
            seat.instance = None
        return obituary

    def forget(self) -> None:
        """Watches nobody any more, and leaves everybody to itself: this pool was never anybody's."""
        self._closed = True
        for instance in self.instances():
            self._loop.unwatch(instance.pidfd)
            os.close(instance.pidfd)
        self.seats.clear()
        self._leaving.clear()

    def _seat_of(self, instance: Instance) -> Seat | None:
        return next((seat for seat in self.seats if seat.instance is instance), None)

    def _after_death(self, seat: Seat, death: Death, reason: str, *, ran_s: float) -> None:
        verdict = decide(seat.record, death, ran_s=ran_s, policy=self._options.restarts)
        seat.record, seat.hopeless, seat.reason = verdict.record, verdict.hopeless, reason
        self.last_death = reason
        _log.warning("seat %d: %s", seat.index, reason)
        if verdict.restart_in_s is not None and not self._closed:
            seat.restarts += 1
            seat.timer = self._loop.call_after(verdict.restart_in_s, functools.partial(self._start, seat))


_EVENTS = {
    "loaded": InstanceEvent.LOADED,
    "ready": InstanceEvent.WARMED,
    "failed": InstanceEvent.REPORTED_FAILURE,
}


def _where(state: InstanceState) -> str:
    """In which part of its life an instance died in silence, and whose code runs in that part."""
    if state is InstanceState.LOADING:
        return "while its model was loaded: the model's code ended the process or crashed it, see the log"
    if state is InstanceState.WARMING:
        return "while its model warmed up: the model's code ended the process or crashed it, see the log"
    return "while it worked" if state is InstanceState.READY else "before it was ready"


def uptime_s(instance: Instance) -> float:
    """Seconds since the process was started or adopted."""
    return (now_ns() - instance.started_at_ns) / NS_PER_S
