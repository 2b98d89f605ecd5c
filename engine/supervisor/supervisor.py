"""The supervisor: who says hello, what they are given, and what happens when they die.

Nothing here waits and nothing here computes: requests never pass through this process. It may be killed at any moment;
what it desires stands in the ledger, and everything else is told to the next one by those who hold it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import signal
from collections.abc import Callable, Sequence
from typing import Any

from engine.clock import Deadline, now_ns
from engine.errors import ProtocolError, StateNotWritten
from engine.launch.identity import Identity, send_signal, wait_dead
from engine.spec import DEFAULT_DEPLOYMENT_ID, ModelSpec
from engine.supervisor.adoption import Adoption, version_of_hold
from engine.supervisor.context import Context
from engine.supervisor.deployment import Deployment
from engine.supervisor.frontend import Frontend, Frontends
from engine.supervisor.guard import caught
from engine.supervisor.hello import Hold, introduced
from engine.supervisor.instance import Instance
from engine.supervisor.ledger import DeploymentRecord, Ledger, State, record_json
from engine.supervisor.listener import Listener
from engine.supervisor.loop import Loop, Timer
from engine.supervisor.options import SupervisorOptions
from engine.supervisor.parcel import Parcel
from engine.supervisor.peer import Peer
from engine.supervisor.placement import Placement
from engine.supervisor.plan import Plan
from engine.supervisor.requests import Requests
from engine.supervisor.status import describe
from engine.supervisor.version import Version

_LEAVE_WITHIN_S = 1.0  # once drained: instances that are still there are killed
_LEAVE_ALONE_S = 0.2  # the same where no frontend is left: what an instance still computes, it computes for nobody
_DEAD_WITHIN_S = 2.0  # killed, at the very end

_log = logging.getLogger(__name__)


class Supervisor:
    """One per runtime directory, for whoever holds the lock on it."""

    def __init__(self, options: SupervisorOptions, loop: Loop, *, follows: bool = False) -> None:
        """`follows`: somebody was supervisor here before, and did not end in order."""
        self._loop = loop
        self._options = options
        self._follows = follows
        self._ledger = Ledger(options.runtime_dir)
        self._frontends = Frontends(loop, self._frontend_died)
        self._deployments: dict[str, Deployment] = {}
        self._placement = Placement(options, self._deployments.values)
        self._context = Context(
            loop=loop,
            options=options,
            frontends=self._frontends,
            keys={},
            record_json=record_json,
            persist=self._persist,
            commit=self._commit,
            open_factory=self._ledger.open_factory,
            forget_factory=self._ledger.forget_factory,
            everybody_back=lambda: self._adoption.over,
            news=self._welcome_who_may,
            rebalance=functools.partial(loop.attempt, self._placement.apply),
        )
        self._peers: set[Peer] = set()
        self._requests = Requests(
            options,
            self._ledger,
            deployment=self._deployment,
            known=self._deployments,
            status=self._status,
            shut_down=lambda: loop.attempt(self.shut_down),
            guard=loop.guard,
        )
        self._adoption = Adoption(self._context, State(), _nothing)
        self._listener: Listener | None = None
        self._leaving = False
        self._records = False  # whether the ledger is written: not in the middle of restoring it, nor at the end
        self._to_restore: list[DeploymentRecord] | None = None  # None: not read yet
        self._waits = False  # for those who were there
        self._write_again: Timer | None = None
        self._began_at_ns = now_ns()

    # --- start and end ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts what is desired, or waits for those who have it. For the loop, which repeats it until it succeeds."""
        if self._leaving:
            return
        if self._to_restore is None:
            self._to_restore = self._read_ledger()
        while self._to_restore:
            self._restore(self._to_restore[0])
            self._to_restore.pop(0)
        if self._listener is None:
            self._listener = Listener(self._loop, self._options.runtime_dir, self._accept)
        self._wait_for_the_living()  # not before: they had nowhere to come back to
        if not self._adoption.recalls:
            self._begin_to_record()

    def _look_back(self) -> None:
        """Told to end before it began: whoever a predecessor has left is to end too."""
        if self._to_restore is None:
            self._to_restore = self._read_ledger()
        self._wait_for_the_living()

    def _wait_for_the_living(self) -> None:
        if not self._waits:
            self._adoption.begin()
            self._waits = True

    def _read_ledger(self) -> list[DeploymentRecord]:
        state = self._ledger.read()
        blind = self._follows and self._ledger.lost
        self._adoption = Adoption(self._context, state, self._begin_anew, blind=blind)
        if self._ledger.unreadable:
            self._loop.guard.failed("ledger", "Ledger.read", ProtocolError(self._ledger.unreadable))
            self._loop.guard.over("ledger")  # nothing can be done about it but to say so
        if self._adoption.found_living:
            return list(state.deployments)
        return [each for each in state.deployments if each.deployment != DEFAULT_DEPLOYMENT_ID]

    def keep_files(self) -> None:
        """Puts back what somebody removed from the runtime directory. Raises OSError."""
        if self._listener is not None and not self._leaving:
            self._listener.keep()
        if self._records:
            self._ledger.put_back_factories()
            if not self._ledger.is_in_place:
                self._persist()

    def shut_down(self) -> None:
        """Drains within `drain_s` (not at all for nobody), ends everybody, forgets what was desired, stops the loop."""
        if self._leaving:
            return
        alone = not self._frontends.all()
        drain_s, leave_s = (0.0, _LEAVE_ALONE_S) if alone else (self._options.drain_s, _LEAVE_WITHIN_S)
        self._loop.call_after(drain_s + leave_s, self._loop.stop)
        self._leaving, self._records = True, False
        _log.info("shutting down")
        self._loop.attempt(self._look_back)
        # One by one: what hinders one of them must not keep the others, who would be killed with their work in hand.
        self._loop.attempt(self._ledger.clear)
        self._loop.attempt(self._adoption.dismiss)
        for deployment in list(self._deployments.values()):
            self._loop.attempt(functools.partial(deployment.undeploy, drain_s=drain_s))
        if self._listener is not None:
            self._loop.attempt(self._listener.close)  # after those that were about to connect have been ended
        self._stop_if_done()

    def close(self) -> None:
        """After the loop was stopped: ends whoever is left, so that nothing of ours is left behind."""
        everybody = [version for each in self._deployments.values() for version in each.versions()]
        killed = [each for version in everybody for each in version.pool.instances()]
        steps: list[Callable[[], None]] = [version.abandon for version in everybody]
        steps.append(functools.partial(_wait_dead, killed))
        steps += [functools.partial(self._frontends.drop, frontend) for frontend in self._frontends.all()]
        steps += [peer.close for peer in self._peers]
        for step in (*steps, self._ledger.close):
            self._loop.attempt(step)

    def _restore(self, record: DeploymentRecord) -> None:
        """What a predecessor wanted: found alive if it served, begun anew if it was starting."""
        for plan in (record.serving, record.starting):
            if plan is not None:
                self._keep_factory(plan)
        deployment = self._deployment(record.deployment)
        deployment.newest = max(deployment.newest, record.newest)
        if record.serving is not None:
            deployment.awaited = record
        if record.starting is not None and deployment.starting is None:
            deployment.deploy(_renumbered(record.starting, deployment))

    def _keep_factory(self, plan: Plan) -> None:
        if plan.pickle_path is not None:
            with contextlib.suppress(OSError):  # it is missed when it is needed, which may be never
                self._ledger.keep_factory(plan.pickle_path)

    def _begin_anew(self) -> None:
        """Everybody is here who will come: what nobody offered is started from its plan."""
        if self._leaving:
            self._stop_if_done()
            return
        for deployment in list(self._deployments.values()):
            self._loop.attempt(functools.partial(self._begin_one_anew, deployment))
        if self._adoption.blind:
            self._loop.attempt(self._begin_to_record)
        self._for_all_versions(Version.pool_changed)
        self._welcome_who_may()

    def _begin_to_record(self) -> None:
        """What is desired is known. Not before: the next successor would take what is written for all there is."""
        self._start_configured()
        self._records = True
        self._persist()

    def _begin_one_anew(self, deployment: Deployment) -> None:
        record, deployment.awaited = deployment.awaited, None
        if record is None or record.serving is None or deployment.starting is not None:
            return
        with contextlib.ExitStack() as undo:
            undo.callback(setattr, deployment, "awaited", record)
            deployment.deploy(_renumbered(record.serving, deployment))
            undo.pop_all()

    def _start_configured(self) -> None:
        """The settings' own deployment, unless it serves already as they say, or somebody put another in its place."""
        spec = self._options.default_spec
        if spec is None:
            return
        deployment = self._deployment(DEFAULT_DEPLOYMENT_ID)
        desired = deployment.starting.plan if deployment.starting is not None else None
        if desired is None and deployment.awaited is not None:
            desired = deployment.awaited.serving
        if desired is None and deployment.serving is not None:
            desired = deployment.serving.plan  # known by its instances alone
        if desired is not None and (not desired.configured or _says(desired, spec)):
            return
        deployment.deploy(
            Plan(
                deployment=deployment.id,
                number=deployment.newest + 1,
                spec=spec.to_json(),
                options=self._options.pool,
                configured=True,
            )
        )

    # --- who is there -----------------------------------------------------------------------------------------------

    def _accept(self, peer: Peer) -> None:
        self._peers.add(peer)
        peer.on_gone = lambda: self._peers.discard(peer)
        peer.on_parcel = functools.partial(self._first_parcel, peer)

    def _first_parcel(self, peer: Peer, parcel: Parcel) -> None:
        if parcel.type == "request":
            self._requests.handle(peer, parcel)
            return
        if parcel.type != "hello":
            raise ProtocolError(f"a connection begins with hello, not with {parcel.type!r}")
        roles: dict[str, Callable[[Peer, Parcel], None]] = {
            "frontend": self._hello_frontend,
            "instance": self._hello_instance,
            "admin": self._hello_admin,
        }
        role = roles.get(parcel.text("role"))
        if role is None:
            raise ProtocolError(f"no role {parcel.fields['role']!r}")
        role(peer, parcel)

    def _hello_admin(self, peer: Peer, parcel: Parcel) -> None:
        peer.on_parcel = functools.partial(self._admin_parcel, peer)
        self._welcome(peer)

    def _admin_parcel(self, peer: Peer, parcel: Parcel) -> None:
        if parcel.type != "request":
            raise ProtocolError(f"an admin does not say {parcel.type!r}")
        self._requests.handle(peer, parcel)

    def _hello_instance(self, peer: Peer, parcel: Parcel) -> None:
        identity, holds = introduced(peer, parcel)
        if holds:
            self._instance_returned(peer, parcel, identity, holds[0])
        elif (started := self._context.keys.get(parcel.text("key"))) is not None:
            started(peer)
        else:
            # A predecessor's, not yet attached: our own pool does not count on it.
            _log.info("instance %d of a predecessor holds nothing; killed", identity.pid)
            send_signal(parcel.first_fd(), signal.SIGKILL)
        self._adoption.heard_of(identity)

    def _instance_returned(self, peer: Peer, parcel: Parcel, identity: Identity, hold: Hold) -> None:
        os.close(parcel.take_fds(1)[0])
        version = self._held_version(hold, parcel)
        version.offer_bells(parcel.take_fds(parcel.fds_left))
        if not version.reconnect(hold.name, identity, peer):
            raise ProtocolError(f"instance {identity.pid} says it is number {hold.name}, which it is not")

    def _hello_frontend(self, peer: Peer, parcel: Parcel) -> None:
        identity, holds = introduced(peer, parcel)
        frontend = Frontend(identity=identity, pidfd=parcel.take_fds(1)[0], peer=peer)
        peer.on_parcel = functools.partial(self._frontend_parcel, frontend, peer)
        peer.on_gone = functools.partial(self._frontend_lost, frontend, peer)
        self._frontends.add(frontend)
        for hold in holds:
            version = self._held_version(hold, parcel)
            version.offer_bells(parcel.take_fds(1), hold.lane)
            self._replace(version.claim(frontend, hold.lane))
        self._persist()
        for deployment in self._deployments.values():
            deployment.offer(frontend)
        self._adoption.heard_of(identity)
        self._welcome_who_may()

    def _held_version(self, hold: Hold, parcel: Parcel) -> Version:
        deployment = self._deployment(hold.deployment)
        version = version_of_hold(self._context, deployment, hold, parcel, recalls=self._adoption.recalls)
        if self._adoption.recalls:
            self._keep_factory(version.plan)
        return version

    def _replace(self, before: Frontend) -> None:
        """Its process has made a new connection and has its lane through that one."""
        if before.peer is not None:
            before.peer.close()
        self._drop_if_unused(before)

    # --- what they say, and how they go -----------------------------------------------------------------------------

    def _frontend_parcel(self, frontend: Frontend, peer: Peer, parcel: Parcel) -> None:
        if parcel.type == "request":
            self._requests.handle(peer, parcel)
        elif parcel.type == "idle":
            deployment = self._deployments.get(parcel.text("deployment"))
            version = deployment.version(parcel.number("version")) if deployment is not None else None
            if version is not None:
                version.frontend_idle(frontend)
        elif parcel.type == "goodbye":
            self._for_all_versions(lambda version: version.frontend_left(frontend))
            self._drop_if_unused(frontend)
        else:
            raise ProtocolError(f"a frontend does not say {parcel.type!r}")

    def _frontend_lost(self, frontend: Frontend, peer: Peer) -> None:
        """A lost connection is no death: lanes stay, a place in the line does not."""
        self._peers.discard(peer)
        self._for_all_versions(lambda version: version.frontend_lost(frontend))
        self._drop_if_unused(frontend)

    def _frontend_died(self, frontend: Frontend) -> None:
        self._for_all_versions(lambda version: version.frontend_died(frontend))
        self._persist()

    def _drop_if_unused(self, frontend: Frontend) -> None:
        if not any(version.has_lane(frontend) for each in self._deployments.values() for version in each.versions()):
            self._frontends.drop(frontend)

    def _for_all_versions(self, act: Callable[[Version], None]) -> None:
        for deployment in list(self._deployments.values()):
            for version in list(deployment.versions()):
                self._loop.attempt(functools.partial(act, version))

    def _welcome_who_may(self) -> None:
        """Frontends that have all they need may begin to accept requests."""
        if not self._adoption.over:
            return
        for frontend in self._frontends.all():
            waits = any(each.keeps_waiting(frontend) for each in self._deployments.values())
            if frontend.peer is not None and not frontend.welcomed and not waits:
                frontend.welcomed = True
                self._welcome(frontend.peer)

    def _welcome(self, peer: Peer) -> None:
        peer.send({"type": "welcome", "pid": os.getpid(), "deployments": list(self._deployments)})

    # --- deployments ------------------------------------------------------------------------------------------------

    def _deployment(self, deployment_id: str) -> Deployment:
        if deployment_id not in self._deployments:
            self._deployments[deployment_id] = Deployment(self._context, deployment_id, self._deployment_gone)
        return self._deployments[deployment_id]

    def _deployment_gone(self, deployment: Deployment) -> None:
        if self._deployments.get(deployment.id) is deployment:
            del self._deployments[deployment.id]
        self._persist()
        self._stop_if_done()

    def _stop_if_done(self) -> None:
        if self._leaving and not self._deployments and self._adoption.over:
            self._loop.stop()

    def _persist(self) -> None:
        """Writes what there is, now or as soon as it can be: nobody waits for it, and the next one writes all of it."""
        error = caught(self._write) if self._records else None
        if error is not None:  # whatever it is: what serves does not depend on a file
            self._write_later(error)

    def _commit(self) -> None:
        """Writes what an order asks for. Raises StateNotWritten, and the order must then not be begun."""
        error = caught(self._write) if self._records else None
        if error is not None:
            self._write_later(error)
            raise StateNotWritten(f"not begun, because the state of the engine cannot be written: {error}") from error

    def _write_later(self, error: Exception) -> None:
        pause_s = self._loop.guard.failed("state", "Ledger.write", error)
        if self._write_again is None:
            self._write_again = self._loop.call_after(pause_s, self._write_once_more)

    def _write_once_more(self) -> None:
        self._write_again = None
        self._persist()

    def _write(self) -> None:
        versions = [version for each in self._deployments.values() for version in each.versions()]
        instances, others = self._adoption.missing
        self._ledger.write(
            State(
                deployments=tuple(deployment.record for deployment in self._deployments.values()),
                instances=tuple(instances | {each.identity for version in versions for each in version.pool.named()}),
                frontends=tuple(others | {frontend.identity for frontend in self._frontends.all()}),
            )
        )
        self._loop.guard.over("state")

    def _status(self) -> dict[str, Any]:
        return describe(
            self._deployments.values(),
            self._frontends.all(),
            began_at_ns=self._began_at_ns,
            restarted=self._adoption.found_living,
            health=self._loop.guard.describe(),
        )


def _wait_dead(killed: Sequence[Instance]) -> None:
    """Whoever finds the engine ended finds its memory, on the device too, free: a large process takes a while to go."""
    until = Deadline.after_s(_DEAD_WITHIN_S)
    for instance in killed:
        wait_dead(instance.pidfd, timeout_s=until.remaining_s())


def _renumbered(plan: Plan, deployment: Deployment) -> Plan:
    """The same again, as a version of its own."""
    return dataclasses.replace(plan, number=deployment.newest + 1)


def _says(plan: Plan, spec: ModelSpec) -> bool:
    """Whether `plan` was made from `spec`. One of another version of ours was not."""
    try:
        return ModelSpec.from_json(plan.spec) == spec
    except ProtocolError:
        return False


def _nothing() -> None:
    """Until `start` there is nobody to wait for."""
