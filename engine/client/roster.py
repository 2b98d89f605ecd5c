"""What the supervisor has handed to this process: deployments, their versions, the instances' pidfds.

Everything here runs in the reactor's thread (or in the attaching thread, before there is one), except that other
threads read `deployments`: entries are added and never removed, and a version enters a deployment complete.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from engine.client.attachment import Attachment
from engine.client.deadlines import DeadlineWheel
from engine.client.deployment_client import DeploymentClient
from engine.client.reactor import Reactor
from engine.client.ticket import Ticket
from engine.clock import NS_PER_MS, now_ns
from engine.config import Settings
from engine.control.link import Hold
from engine.errors import EngineError, MixedLayouts, ProtocolError

_log = logging.getLogger(__name__)

Message = dict[str, Any]


class Roster:
    """Keeps itself up to date by `handle`. `reactor` is set by the client, which moves the watches when it changes."""

    def __init__(self, settings: Settings, *, reactor: Reactor, wheel: DeadlineWheel[Ticket]) -> None:
        self.deployments: dict[str, DeploymentClient] = {}
        self.welcomed = False  # the first burst of messages is complete
        self.mixed: MixedLayouts | None = None  # what this process was given is not of its kind, nor ever will be
        self.reactor = reactor
        self.tell: Callable[[Message], None] = lambda message: None  # to the supervisor; set by the client
        self._settings = settings
        self._wheel = wheel
        self._handlers: dict[str, Callable[[Message, list[int]], None]] = {
            "segment": self._segment,
            "live": self._live,
            "instance_up": self._instance_up,
            "state": self._state,
            "tuning": self._tuning,
            "close": self._close,
            "waiting": self._waiting,
            "welcome": self._welcome,
        }

    def handle(self, message: Message, fds: list[int]) -> None:
        """Acts on one message and owns its descriptors. What makes no sense is logged and changes nothing."""
        handler = self._handlers.get(message["type"])
        if handler is None:
            _log.debug("ignored a %s message", message["type"])
            _close_all(fds)
            return
        try:
            handler(message, fds)
        except MixedLayouts as error:
            _log.error("%s", error)
            self.mixed = self.mixed or error
        except (ProtocolError, KeyError, ValueError, TypeError) as error:
            _log.error("a %s message makes no sense: %r", message["type"], error)

    # --- messages ---------------------------------------------------------------------------------------------------

    def _segment(self, message: Message, fds: list[int]) -> None:
        deployment, version = self.deployment(message["deployment"]), int(message["version"])
        if version in deployment.versions.attachments:  # a successor need not send what a hello has shown
            _close_all(fds)
            return
        if len(fds) != 4:
            _close_all(fds)
            raise ProtocolError(f"a segment comes with 4 descriptors, not {len(fds)}")
        attachment = Attachment(deployment_id=deployment.id, version=version, lane=int(message["lane"]), fds=fds)
        attachment.doorbell.follow(self.reactor)
        self.reactor.watch(attachment.reply_bell.fileno(), partial(self._on_bell, deployment, attachment))
        deployment.versions.waiting = ""
        deployment.adopt(attachment)

    def _waiting(self, message: Message, fds: list[int]) -> None:
        deployment = self.deployment(message["deployment"])
        deployment.versions.waiting = str(message["reason"])
        _log.warning("no lane of %s for this process: %s", deployment.id, deployment.versions.waiting)

    @property
    def obstacles(self) -> str:
        """Why this process waits, as far as it was told."""
        told = {each.id: each.versions.waiting for each in self.deployments.values() if each.versions.waiting}
        return "; ".join(f"{name}: {reason}" for name, reason in told.items())

    def _live(self, message: Message, fds: list[int]) -> None:
        names = [int(name) for name in message["names"]]
        for name, pidfd in zip(names, fds, strict=True):
            self._up(message, name, pidfd)
        found = self._find(message)
        if found is not None:
            deployment, attachment = found
            for name in list(attachment.missing_names(int(message["counter"]), names)):
                deployment.dispatcher.deliver(attachment.instance_down(name))

    def _instance_up(self, message: Message, fds: list[int]) -> None:
        self._up(message, int(message["name"]), fds[0])

    def _up(self, message: Message, name: int, pidfd: int) -> None:
        found = self._find(message)
        if found is None:
            os.close(pidfd)
            return
        deployment, attachment = found
        if attachment.instance_up(name, pidfd):
            self.reactor.watch(pidfd, partial(self._on_death, deployment, attachment, name))

    def _state(self, message: Message, fds: list[int]) -> None:
        self.deployment(message["deployment"]).told(
            state=str(message["state"]),
            reason=str(message.get("reason") or ""),
            active_version=int(message.get("version") or 0),
        )

    def _tuning(self, message: Message, fds: list[int]) -> None:
        self.deployment(message["deployment"]).versions.tuning = dict(message["tuning"])

    def _close(self, message: Message, fds: list[int]) -> None:
        found = self._find(message)
        if found is None:
            self._tell_idle(str(message["deployment"]), int(message["version"]))
            return
        deployment, attachment = found
        attachment.recalled = True
        deployment.versions.stop_taking(attachment)
        deployment.dispatcher.deliver(attachment.refuse_unserved())
        deployment.dispatcher.look()
        self._drop_if_idle(deployment, attachment)

    def _welcome(self, message: Message, fds: list[int]) -> None:
        self.welcomed = True

    # --- events -----------------------------------------------------------------------------------------------------

    def _on_bell(self, deployment: DeploymentClient, attachment: Attachment) -> None:
        deployment.dispatcher.deliver(attachment.owner.harvest())
        if attachment.recalled:
            self._drop_if_idle(deployment, attachment)

    def _on_death(self, deployment: DeploymentClient, attachment: Attachment, name: int) -> None:
        self.reactor.unwatch(attachment.pidfd_of(name))
        deployment.dispatcher.deliver(attachment.instance_down(name))
        self._drop_if_idle(deployment, attachment)

    def look_everywhere(self) -> None:
        """The belt: what a lost hint would have shown, and what has to be looked at from time to time."""
        for deployment, attachment in self._pairs():
            deployment.dispatcher.deliver(attachment.owner.harvest())
            deployment.dispatcher.deliver(attachment.refuse_unserved())
            self._drop_if_idle(deployment, attachment)
        now = now_ns()
        for deployment in tuple(self.deployments.values()):
            deployment.dispatcher.look()
            deployment.measure_drain(now)

    def _drop_if_idle(self, deployment: DeploymentClient, attachment: Attachment) -> None:
        if not attachment.droppable:
            return
        self.forget(deployment, attachment)
        self._tell_idle(deployment.id, attachment.version)

    def _tell_idle(self, deployment_id: str, version: int) -> None:
        self._tell({"type": "idle", "deployment": deployment_id, "version": version})

    def _tell(self, message: Message) -> None:
        try:
            self.tell(message)
        except EngineError:  # no supervisor just now: the next hello will not name what we have let go of
            _log.debug("%s not told", message["type"])

    # --- for the client ---------------------------------------------------------------------------------------------

    def deployment(self, deployment_id: str) -> DeploymentClient:
        """The deployment of this name, made when it is new."""
        found = self.deployments.get(deployment_id)
        if found is None:
            settings = self._settings
            found = DeploymentClient(
                deployment_id,
                queue_size=settings.request_queue_size,
                aging_ns=settings.aging_ms * NS_PER_MS,
                wheel=self._wheel,
            )
            self.deployments[deployment_id] = found
        return found

    def holds(self) -> list[Hold]:
        """What a hello says."""
        return [attachment.hold() for _, attachment in self._pairs()]

    def watch_all(self) -> None:
        """Watches everything with a new `reactor`, from its own thread or before it runs."""
        for deployment, attachment in self._pairs():
            attachment.doorbell.follow(self.reactor)
            self.reactor.watch(attachment.reply_bell.fileno(), partial(self._on_bell, deployment, attachment))
            for name, pidfd in attachment.names.items():
                self.reactor.watch(pidfd, partial(self._on_death, deployment, attachment, name))

    def forget(self, deployment: DeploymentClient, attachment: Attachment) -> None:
        """Lets go of one version."""
        self.reactor.unwatch(attachment.reply_bell.fileno())
        for pidfd in attachment.names.values():
            self.reactor.unwatch(pidfd)
        deployment.counters.let_go(attachment)
        deployment.dispatcher.look()
        attachment.close()

    def leave(self) -> None:
        """Lets go of all. The supervisor is told, unless something of ours is left: then the lanes wait for our end."""
        idle = not self.outstanding
        for deployment, attachment in list(self._pairs()):
            self.forget(deployment, attachment)
        if idle:
            self._tell({"type": "goodbye"})

    def let_go_in_child(self) -> None:
        """In a forked child: nothing here is its own."""
        for deployment in self.deployments.values():
            deployment.let_go_in_child()
        self.deployments.clear()

    @property
    def reply_fds(self) -> list[int]:
        """Where answers ring."""
        return [attachment.reply_bell.fileno() for _, attachment in self._pairs()]

    @property
    def outstanding(self) -> int:
        """Slots of this process that are not home."""
        return sum(attachment.outstanding for _, attachment in self._pairs())

    def _pairs(self) -> Iterator[tuple[DeploymentClient, Attachment]]:
        for deployment in tuple(self.deployments.values()):
            for attachment in tuple(deployment.versions.attachments.values()):
                yield deployment, attachment

    def _find(self, message: Message) -> tuple[DeploymentClient, Attachment] | None:
        deployment = self.deployment(message["deployment"])
        attachment = deployment.versions.attachments.get(int(message["version"]))
        return None if attachment is None else (deployment, attachment)


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
