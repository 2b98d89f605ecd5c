"""The instances of one version: a seat for each, filled at once and filled again after a death.

What an instance says is passed on to the version; whether its seat is filled again is decided by `engine.core.restart`.
"""

from __future__ import annotations

import functools
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from typing import Protocol

from engine.config import without_secrets
from engine.core.lifecycle import InstanceEvent, InstanceState
from engine.core.restart import Death, SeatRecord
from engine.errors import ProtocolError
from engine.launch.identity import Identity
from engine.messages import read_memfd
from engine.supervisor.children import spawn
from engine.supervisor.departures import Departures
from engine.supervisor.instance import Instance
from engine.supervisor.loop import Loop
from engine.supervisor.obituary import Obituary
from engine.supervisor.options import SupervisorOptions
from engine.supervisor.parcel import Parcel
from engine.supervisor.peer import Peer
from engine.supervisor.seats import Seat, Seats

_log = logging.getLogger(__name__)


class PoolOwner(Protocol):
    """Whom a pool tells what happened."""

    def instance_connected(self, instance: Instance) -> None: ...
    def instance_loaded(self, instance: Instance, description: bytes) -> None: ...
    def instance_ready(self, instance: Instance) -> None: ...
    def instance_died(self, instance: Instance) -> None: ...
    def latest_deadline_ns(self, instance: Instance, *, arrived_by_ns: int) -> int | None: ...
    def death_ordered(self, instance: Instance) -> None: ...
    def pool_changed(self) -> None: ...


class Pool:
    """The seats of one version, and the instances that are on their way out. `owner` is changed by its heir alone."""

    def __init__(
        self, loop: Loop, options: SupervisorOptions, owner: PoolOwner, keys: dict[str, Callable[[Peer], None]]
    ) -> None:
        """`keys`: where a new instance's key is put, with whom to call when it says hello."""
        self.owner = owner
        self._loop = loop
        self._options = options
        self._keys = keys
        self._departures = Departures(
            loop,
            options.leaving,
            death_ordered=lambda instance: self.owner.death_ordered(instance),
            latest_deadline_ns=lambda instance, by_ns: self.owner.latest_deadline_ns(instance, arrived_by_ns=by_ns),
        )
        self._deaths: dict[Instance, Obituary] = {}  # that are not settled yet
        self._closed = False
        self.last_death = ""  # how an instance that was not told to leave ended last; unlike `reason` it is kept
        self.seats = Seats()
        self.short = ""  # why it has fewer seats than wished; set by whoever resizes it

    # --- size -------------------------------------------------------------------------------------------------------

    def resize(self, size: int, devices: tuple[str, ...]) -> None:
        """So many seats from now on. New ones are filled at once; instances of surplus ones finish and leave."""
        while len(self.seats) > size:
            self._vacate(self.seats.first_to_go)
        while len(self.seats) < size:
            self.seats.add_next(devices)
        for seat in self.seats.vacant():
            self._start(seat)

    def empty(self) -> None:
        """Everybody leaves: those that take work finish it, those that are still booting are killed."""
        self._closed = True
        while self.seats:
            self._vacate(self.seats.first_to_go)

    def stop_filling(self) -> None:
        """No seat is filled any more: who is still booting is killed, who works is not told to leave."""
        self._closed = True
        for seat in self.seats:
            if seat.instance is None or seat.instance.state.is_booting:
                self._vacate(seat)

    def kill(self) -> None:
        """Ends every process at once."""
        for instance in self.instances():
            self.end(instance)

    def end(self, instance: Instance) -> None:
        """Kills it, by order: its death counts against none of the requests that it was computing."""
        self._departures.end(instance)

    def forget(self) -> None:
        """Watches nobody any more, and leaves everybody to itself: this pool was never anybody's."""
        self._closed = True
        for instance in self.instances():
            self._loop.unwatch(instance.pidfd)
            os.close(instance.pidfd)
        self.seats.clear()
        self._departures.leaving.clear()

    def _vacate(self, seat: Seat) -> None:
        """May be repeated: the seat goes last."""
        if seat.timer is not None:
            seat.timer.cancel()
        if seat.instance is not None:
            self._keys.pop(seat.instance.key, None)
            self._departures.dismiss(seat.instance)
            seat.instance = None
        self.seats.remove(seat)

    # --- what there is ----------------------------------------------------------------------------------------------

    def instances(self) -> Iterator[Instance]:
        """Everybody that lives, those that leave included."""
        yield from self.seats.instances()
        yield from self.leaving()

    def leaving(self) -> list[Instance]:
        """Those on their way out."""
        return list(self._departures.leaving)

    def named(self) -> list[Instance]:
        """Everybody that has a name in the segment, by name."""
        return sorted((each for each in self.instances() if each.name), key=lambda each: each.name)

    def is_dead_name(self, name: int) -> bool:
        """Whether nobody lives who has this name."""
        return all(each.name != name for each in self.instances())

    # --- a life: started or adopted, connected, heard ---------------------------------------------------------------

    def adopt(self, identity: Identity, pidfd: int, name: int, *, seat: int, device: str) -> Instance:
        """The seat of an instance of a predecessor, as its row in the segment has it."""
        own = Seat(self.seats.index_like(seat), device)
        own.record = SeatRecord(has_run=True)
        own.instance = found = Instance.adopted(
            seat=own.index, device=device, identity=identity, pidfd=pidfd, name=name
        )
        self.seats.add(own)
        self._loop.watch(pidfd, functools.partial(self._died, found))
        return found

    def _start(self, seat: Seat) -> None:
        seat.timer = None
        if seat.instance is not None or seat not in self.seats:
            return
        key = secrets.token_hex(8)
        command = [*self._options.instance_command, "--runtime-dir", str(self._options.runtime_dir), "--key", key]
        try:
            instance = self._spawn(seat, key, command)
        except OSError as error:
            self._refill(seat, Obituary(seat, Death.UNBORN, f"cannot start a process: {error}", 0.0))
            self.owner.pool_changed()
            return
        seat.instance = instance
        self._keys[key] = functools.partial(self._hello, instance)

    def _spawn(self, seat: Seat, key: str, command: list[str]) -> Instance:
        """A process whose death will be noticed. Raises OSError, and then there is none."""
        child = spawn(command, without_secrets(os.environ))  # a model is somebody else's code
        instance = Instance(key=key, seat=seat.index, device=seat.device, identity=child.identity, pidfd=child.pidfd)
        try:
            self._loop.watch(child.pidfd, functools.partial(self._died, instance))
        except OSError:  # nothing more can be waited for
            child.end()
            raise
        return instance

    def _hello(self, instance: Instance, peer: Peer) -> None:
        if peer.pid != instance.identity.pid:
            raise ProtocolError(f"pid {peer.pid} has the key of instance {instance.identity.pid}")
        self.connect(instance, peer)

    def connect(self, instance: Instance, peer: Peer) -> None:
        """From here on what `peer` says is what `instance` says."""
        instance.peer = peer
        peer.on_parcel = functools.partial(self._on_parcel, instance)
        if instance.state.allows(InstanceEvent.CONNECTED):
            with instance.advancing(InstanceEvent.CONNECTED):
                self.owner.instance_connected(instance)
        elif instance.state is InstanceState.LEAVING:
            instance.send({"type": "detach"})  # it was not connected when it was told

    def _on_parcel(self, instance: Instance, parcel: Parcel) -> None:
        if parcel.type == "report":
            warnings = [str(each) for each in parcel.sequence("warnings")]
            instance.note(parcel.number("max_batch"), warnings)
        elif parcel.type == "detached":
            self._departures.detached(instance)
        elif parcel.type == "poisoned":
            instance.error = parcel.text("error")
            self._departures.poisoned(instance)
        elif parcel.type not in _EVENTS:
            raise ProtocolError(f"an instance does not say {parcel.type!r}")
        elif instance.state.allows(_EVENTS[parcel.type]):  # else it is on its way out, or crossed an order of ours
            self._on_event(instance, _EVENTS[parcel.type], parcel)

    def _on_event(self, instance: Instance, event: InstanceEvent, parcel: Parcel) -> None:
        if event is InstanceEvent.REPORTED_FAILURE:
            instance.error = parcel.text("error")
            self._departures.see_off(instance)
        with instance.advancing(event):
            if event is InstanceEvent.LOADED:
                self.owner.instance_loaded(instance, read_memfd(parcel.first_fd()))
            elif event is InstanceEvent.WARMED:
                instance.warmup_ms = parcel.mapping("warmup_ms")
                instance.weights_bytes = parcel.number("weights_bytes")
                seat = self.seats.of(instance)
                if seat is not None:
                    seat.worked()
                self.owner.instance_ready(instance)

    def turn_away(self, instance: Instance, reason: str) -> None:
        """It loaded another model than this version has: it ends, and its seat is tried again later."""
        instance.turned_away = True
        self.refuse(instance, reason)

    def refuse(self, instance: Instance, reason: str) -> None:
        """An instance that cannot be used is treated as if it had said so itself."""
        instance.error = reason
        with instance.advancing(InstanceEvent.REPORTED_FAILURE):
            self.end(instance)

    # --- a death ----------------------------------------------------------------------------------------------------

    def _died(self, instance: Instance) -> None:
        """Watched until the last step is done, so that all are done again should one of them fail."""
        if instance.state is not InstanceState.DEAD:
            if instance.peer is not None:
                instance.peer.hear_out()
            self._deaths[instance] = self._bury(instance)
        self.owner.instance_died(instance)
        obituary = self._deaths.get(instance)
        if obituary is not None and obituary.seat is not None:
            self._refill(obituary.seat, obituary)
        self._deaths.pop(instance, None)  # not before: until its seat is to be filled again nobody else would do it
        if instance.peer is not None:
            instance.peer.close()
        self._loop.unwatch(instance.pidfd)
        os.close(instance.pidfd)
        self._loop.attempt(self._tell_changed)

    def _bury(self, instance: Instance) -> Obituary:
        """It is nobody's instance any more."""
        obituary = Obituary.of(instance, self.seats.of(instance))
        self._keys.pop(instance.key, None)
        self._departures.died(instance)
        instance.advance(InstanceEvent.DIED)  # last: one that is dead is not buried again, should a step fail
        if obituary.seat is not None:
            obituary.seat.instance, obituary.seat.is_settled = None, False
        return obituary

    def _refill(self, seat: Seat, obituary: Obituary) -> None:
        policy = self._options.restarts
        restart_in_s = seat.lost(obituary.death, obituary.reason, ran_s=obituary.ran_s, policy=policy)
        self.last_death = obituary.reason
        _log.warning("seat %d: %s", seat.index, obituary.reason)
        if restart_in_s is not None and not self._closed:
            seat.restarts += 1
            seat.timer = self._loop.call_after(restart_in_s, functools.partial(self._start, seat))

    def _tell_changed(self) -> None:
        self.owner.pool_changed()


_EVENTS = {
    "loaded": InstanceEvent.LOADED,
    "ready": InstanceEvent.WARMED,
    "failed": InstanceEvent.REPORTED_FAILURE,
}
