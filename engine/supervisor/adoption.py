"""Taking over from a supervisor that died.

Whoever lives comes back by itself and offers what it holds: segment, doorbell, reply bells. The first offer makes a
version known again; the segment itself says who owns which lane and which instances live. Only a deployment whose
segment nobody offers is begun anew, once everybody who was there has come back or is dead.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
from collections.abc import Callable

from engine.errors import ProtocolError
from engine.launch.identity import Identity, send_signal
from engine.shm.bell import Bell
from engine.shm.segment import Segment
from engine.spec import ModelDescription
from engine.supervisor.context import Context
from engine.supervisor.deployment import Deployment
from engine.supervisor.hello import Hold
from engine.supervisor.ledger import State, record_from
from engine.supervisor.parcel import Parcel
from engine.supervisor.plan import Plan
from engine.supervisor.serving_version import ServingVersion
from engine.supervisor.version import Version

# Whoever stays away longer (stopped, or deep in one batch) finds its version replaced, and closes it when it comes.
COME_BACK_WITHIN_S = 3.0

_log = logging.getLogger(__name__)


class Adoption:
    """The peers of a predecessor that may still come. `on_over` is called once, when nobody is waited for."""

    def __init__(self, context: Context, on_over: Callable[[], None]) -> None:
        self._context = context
        self._on_over = on_over
        self._instances: set[Identity] = set()
        self._missing: dict[Identity, int] = {}
        self.blind = False
        self.over = False
        self.found_living = False  # at the start: somebody may still have what a predecessor made

    def expect(self, state: State, *, blind: bool) -> None:
        """Finds out who of those in `state` lives.

        `blind`: there was a predecessor, and what it wrote is lost; those who have something to offer say so.
        """
        self.blind = blind
        self._instances = set(state.instances)
        for peer in {*state.instances, *state.frontends} - self._missing.keys():
            pidfd = peer.open_pidfd()
            if pidfd is not None:
                self._missing[peer] = pidfd
        self.found_living = blind or bool(self._missing)

    def begin(self) -> None:
        """Waits for those who live, if there are any."""
        for peer, pidfd in self._missing.items():
            self._context.loop.watch(pidfd, functools.partial(self.heard_of, peer))
        self._context.loop.call_after(COME_BACK_WITHIN_S, self._end)
        self._end_if_complete()

    def heard_of(self, peer: Identity) -> None:
        """It has said hello, or it is dead."""
        pidfd = self._missing.pop(peer, None)
        if pidfd is not None:
            self._context.loop.unwatch(pidfd)
            os.close(pidfd)
        self._end_if_complete()

    @property
    def missing(self) -> tuple[set[Identity], set[Identity]]:
        """Instances and others that are waited for: a successor of ours would have to wait for them too."""
        return self._missing.keys() & self._instances, self._missing.keys() - self._instances

    def dismiss(self) -> bool:
        """Nobody is wanted any more: instances that have not come are told to end; whether there are any."""
        missing = [pidfd for peer, pidfd in self._missing.items() if peer in self._instances]
        for pidfd in missing:
            send_signal(pidfd, signal.SIGTERM)
        for peer in self._missing.keys() - self._instances:
            self.heard_of(peer)
        return bool(missing)

    @property
    def recalls(self) -> bool:
        """Whether what instances offer is taken for what is desired."""
        return self.blind and not self.over

    def _end_if_complete(self) -> None:
        if not self._missing and not self.blind:
            self._end()

    def _end(self) -> None:
        for pidfd in self._missing.values():
            self._context.loop.unwatch(pidfd)
            os.close(pidfd)
        if self._missing:
            _log.warning("not come back: %s", ", ".join(str(peer.pid) for peer in self._missing))
        self._missing.clear()
        if not self.over:
            self.over = True
            self._context.loop.attempt(self._on_over)


def version_of_hold(
    context: Context, deployment: Deployment, hold: Hold, parcel: Parcel, *, recalls: bool
) -> Version:
    """The version that a peer holds, adopted from the next two descriptors of its hello if it is not known yet.

    `recalls`: what serves is not known, and is what an instance says. Raises ProtocolError for a segment of another
    layout, or one that cannot be adopted now; whoever has it comes again.
    """
    segment_fd, doorbell_fd = parcel.take_fds(2)
    known = deployment.versions.numbered(hold.version)
    if known is not None:
        is_same = known.plane is not None and os.path.sameopenfile(known.plane.segment.fd, segment_fd)
        os.close(segment_fd)
        os.close(doorbell_fd)
        if not is_same:
            deployment.make_way(known)
            raise ProtocolError(f"version {hold.version} of {deployment.id} is another one just now")
        return known
    doorbell = Bell(doorbell_fd)
    try:
        segment = Segment.attach(segment_fd)
    except ProtocolError:
        doorbell.close()
        raise
    if recalls and not segment.closing and not _recalled(context, deployment, hold):
        segment.close()
        doorbell.close()
        raise ProtocolError(f"{deployment.id} version {hold.version} is for an instance of it to offer first")
    return _adopted(context, deployment, hold.version, segment, doorbell)


def _recalled(context: Context, deployment: Deployment, hold: Hold) -> bool:
    """Takes what an instance was once given for what is desired of its deployment; False if nobody said that yet."""
    if deployment.versions.awaited is None and deployment.versions.serving is None:
        if hold.record is None:
            return False
        deployment.versions.awaited = record_from(hold.record)
        deployment.versions.drained = context.totals.had_drained(deployment.id)
        _log.warning("%s version %d goes on: an instance knows what the state file did", hold.deployment, hold.version)
    return True


def _adopted(context: Context, deployment: Deployment, number: int, segment: Segment, doorbell: Bell) -> Version:
    record = deployment.versions.awaited
    desired = record is not None and record.serving is not None and record.serving.number == number
    if desired and record is not None and record.serving is not None and record.description is not None:
        plan, description = record.serving, record.description
    else:
        desired, plan, description = False, _unknown_plan(context, deployment.id, number), _unknown_model(segment)
    version = ServingVersion(context, plan, deployment)
    with contextlib.ExitStack() as undo:
        undo.callback(_forget, version, segment, doorbell)
        version.adopt(segment, doorbell, description)
        undo.pop_all()
    _log.info("adopted %s version %d%s", deployment.id, number, "" if desired else ", which closes")
    deployment.versions.newest = max(deployment.versions.newest, number)
    return deployment.adopt(version, serves=desired)


def _forget(version: ServingVersion, segment: Segment, doorbell: Bell) -> None:
    """It could not be adopted."""
    if version.plane is None:
        segment.close()
        doorbell.close()
    version.forget()


def _unknown_plan(context: Context, deployment: str, number: int) -> Plan:
    """For a version that nobody desires any more: it will start nothing."""
    return Plan(deployment=deployment, number=number, spec={}, options=context.options.pool)


def _unknown_model(segment: Segment) -> ModelDescription:
    """Nobody will attach to this version, so that the sizes are all there is to say."""
    geometry = segment.geometry
    return ModelDescription(
        model_version="",
        input_shape=(geometry.payload_bytes // 4,),
        classes=max(1, geometry.reply_bytes // 4),
        labels=(),
        sample_rate_hz=0,
        segment_s=0.0,
        peak_normalise=False,
        device="",
    )
