"""Who connects: what they say of themselves, what they are told in return, and how they go."""

from __future__ import annotations

import functools
import logging
import os
import signal
from collections.abc import Callable
from typing import Any

from engine.errors import ProtocolError
from engine.launch.identity import Identity, send_signal
from engine.supervisor.adoption import Adoption, version_of_hold
from engine.supervisor.context import Context
from engine.supervisor.deployments import Deployments
from engine.supervisor.frontend import Frontend
from engine.supervisor.hello import Hold, introduced
from engine.supervisor.parcel import Parcel
from engine.supervisor.peer import Peer
from engine.supervisor.requests import Requests
from engine.supervisor.version import Version

_log = logging.getLogger(__name__)


class Reception:
    """Each connection begins with a hello, which says whether it is a frontend's, an instance's or an admin's."""

    def __init__(
        self,
        context: Context,
        deployments: Deployments,
        adoption: Adoption,
        requests: Requests,
        *,
        offer_more: Callable[[Frontend], None],
    ) -> None:
        """`offer_more` tells a frontend, just before its welcome, what there is to know besides its lanes."""
        self._offer_more = offer_more
        self._context = context
        self._deployments = deployments
        self._adoption = adoption
        self._requests = requests
        self._peers: set[Peer] = set()

    def accept(self, peer: Peer) -> None:
        """For the listener."""
        self._peers.add(peer)
        peer.on_gone = lambda: self._peers.discard(peer)
        peer.on_parcel = functools.partial(self._first_parcel, peer)

    def close_all(self) -> None:
        """Closes every connection."""
        for peer in list(self._peers):
            self._context.loop.attempt(peer.close)

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

    # --- admins -----------------------------------------------------------------------------------------------------

    def _hello_admin(self, peer: Peer, parcel: Parcel) -> None:
        peer.on_parcel = functools.partial(self._admin_parcel, peer)
        peer.send(*self._welcome())

    def _admin_parcel(self, peer: Peer, parcel: Parcel) -> None:
        if parcel.type != "request":
            raise ProtocolError(f"an admin does not say {parcel.type!r}")
        self._requests.handle(peer, parcel)

    # --- instances --------------------------------------------------------------------------------------------------

    def _hello_instance(self, peer: Peer, parcel: Parcel) -> None:
        identity, holds = introduced(peer, parcel)
        if holds:
            self._instance_returned(peer, parcel, identity, holds[0])
            peer.send(*self._welcome())
        elif (started := self._context.keys.get(parcel.text("key"))) is not None:
            peer.send(*self._welcome())
            started(peer)
        else:
            # A predecessor's, not yet attached: our own pool does not count on it.
            _log.info("instance %d of a predecessor holds nothing; killed", identity.pid)
            send_signal(parcel.first_fd(), signal.SIGKILL)
        self._adoption.heard_of(identity)

    def _instance_returned(self, peer: Peer, parcel: Parcel, identity: Identity, hold: Hold) -> None:
        os.close(parcel.take_fds(1)[0])
        self._context.process_holds.receive(parcel.sequence("process"), parcel.take_fds)
        version = self._held_version(hold, parcel)
        version.offer_bells(parcel.take_fds(parcel.fds_left))
        if not version.reconnect(hold.name, identity, peer):
            raise ProtocolError(f"instance {identity.pid} says it is number {hold.name}, which it is not")

    def _held_version(self, hold: Hold, parcel: Parcel) -> Version:
        deployment = self._deployments.of(hold.deployment)
        version = version_of_hold(self._context, deployment, hold, parcel, recalls=self._adoption.recalls)
        if self._adoption.recalls:
            self._context.keep_factory(version.plan)
        return version

    # --- frontends --------------------------------------------------------------------------------------------------

    def _hello_frontend(self, peer: Peer, parcel: Parcel) -> None:
        identity, holds = introduced(peer, parcel)
        frontend = Frontend(identity=identity, pidfd=parcel.take_fds(1)[0], peer=peer)
        peer.on_parcel = functools.partial(self._frontend_parcel, frontend, peer)
        peer.on_gone = functools.partial(self._frontend_lost, frontend, peer)
        self._context.frontends.add(frontend)
        self._context.process_holds.receive(parcel.sequence("process"), parcel.take_fds)
        for hold in holds:
            version = self._held_version(hold, parcel)
            version.offer_bells(parcel.take_fds(1), hold.lane)
            self._replace(version.claim(frontend, hold.lane))
        self._context.persist()
        for deployment in self._deployments:
            deployment.offer(frontend)
        self._adoption.heard_of(identity)
        if self._adoption.over:
            # It may wait long for lanes; what it answers until then is counted where others see it.
            frontend.send(*self._offer())
        self.welcome_who_may()

    def _replace(self, before: Frontend) -> None:
        """Its process has made a new connection and has its lane through that one."""
        if before.peer is not None:
            before.peer.close()
        self.drop_if_unused(before)

    def _frontend_parcel(self, frontend: Frontend, peer: Peer, parcel: Parcel) -> None:
        if parcel.type == "request":
            self._requests.handle(peer, parcel)
        elif parcel.type == "idle":
            version = self._deployments.version(parcel.text("deployment"), parcel.number("version"))
            if version is not None:
                version.frontend_idle(frontend)
        elif parcel.type == "goodbye":
            self._deployments.tell_versions(functools.partial(self._left, frontend))
            self.drop_if_unused(frontend)
        else:
            raise ProtocolError(f"a frontend does not say {parcel.type!r}")

    def _left(self, frontend: Frontend, version: Version) -> None:
        version.frontend_left(frontend)
        self.drop_if_unused(frontend)  # should it be by a repetition that it has no lane any more

    def _frontend_lost(self, frontend: Frontend, peer: Peer) -> None:
        """A lost connection is no death: lanes stay, a place in the line does not."""
        self._peers.discard(peer)
        self._deployments.tell_versions(lambda version: version.frontend_lost(frontend))
        self.drop_if_unused(frontend)

    def frontend_died(self, frontend: Frontend) -> None:
        """Its pidfd said so."""
        self._deployments.tell_versions(lambda version: version.frontend_died(frontend))
        self._context.persist()

    def drop_if_unused(self, frontend: Frontend) -> None:
        """Nobody waits for the death of one that has no lane and no connection. May be repeated."""
        if not any(version.has_lane(frontend) for version in self._deployments.versions()):
            self._context.frontends.drop(frontend)

    # --- welcome ----------------------------------------------------------------------------------------------------

    def welcome_who_may(self) -> None:
        """Frontends that have all they need may begin to accept requests."""
        if not self._adoption.over:
            return
        for frontend in self._context.frontends.all():
            waits = any(each.versions.keeps_waiting(frontend) for each in self._deployments)
            if frontend.peer is not None and not frontend.welcomed and not waits:
                self._offer_more(frontend)
                frontend.send(*self._welcome())
                frontend.welcomed = True

    def welcome_again(self) -> None:
        """There is something new to hold: for those too who have been welcomed already, and will be by nothing else."""
        for frontend in self._context.frontends.all():
            frontend.send(*(self._welcome() if frontend.welcomed else self._offer()))
        self._deployments.tell_versions(self.welcome_instances)

    def welcome_instances(self, version: Version) -> None:
        """All that an instance does with a welcome is to hold what it offers."""
        for instance in version.pool.instances():
            if instance.peer is not None:
                instance.peer.send(*self._welcome())

    def _offer(self) -> tuple[dict[str, Any], list[int]]:
        """A message that brings what there is to hold, and its descriptors."""
        process, fds = self._context.process_holds.offer()
        return {"type": "offer", "process": process}, fds

    def _welcome(self) -> tuple[dict[str, Any], list[int]]:
        """The same, for whoever is to begin."""
        offer, fds = self._offer()
        label = {"pid": os.getpid(), "deployments": [each.id for each in self._deployments]}
        return {**offer, **label, "type": "welcome"}, fds
