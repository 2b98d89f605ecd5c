"""The client itself: attach, submit, close. One per process; in a forked child it is an error to use it.

Life: `attach` waits for the supervisor's welcome in the calling thread; then a thread drives the client until
`use_event_loop` puts an asyncio loop in its place; `close` answers whoever still waits and lets go of everything.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import ExitStack
from typing import Any

from engine.client.alarm import Alarm
from engine.client.attachment import Attachment
from engine.client.contact import Contact
from engine.client.deadlines import DeadlineWheel
from engine.client.deployment_client import DeploymentClient
from engine.client.reactor import LoopReactor, Reactor, ThreadReactor, wait_readable
from engine.client.roster import Roster
from engine.client.ticket import Ticket
from engine.clock import NS_PER_S, Deadline, now_ns
from engine.config import Settings
from engine.errors import (
    DeadlineExceeded,
    EngineClosed,
    InheritedByFork,
    InternalError,
    InvalidField,
    NotReady,
    UnknownDeployment,
)
from engine.observe.counters import Counters
from engine.shm.forked import not_for_children
from engine.shm.item import Item
from engine.shm.machine import MachineSegment
from engine.spec import DEFAULT_DEPLOYMENT_ID, ModelDescription

TICK_NS = NS_PER_S  # the belt against lost hints
CLOSE_S = 1.0  # how long `close` waits for instances to give back what they compute for nobody


class EngineClient:
    """A frontend's way into the engine. Every method may be called from every thread unless it says otherwise."""

    def __init__(self, *, runtime_dir: str, settings: Settings, ensure: Callable[[], None] | None = None) -> None:
        """Use `attach`."""
        self._wheel: DeadlineWheel[Ticket] = DeadlineWheel()
        self._reactor: Reactor = ThreadReactor()
        self._roster = Roster(settings, reactor=self._reactor, wheel=self._wheel)
        self._alarm = Alarm(self._wheel, self._reactor)
        self._contact = Contact(runtime_dir, self._roster, ensure)
        self.machines = self._contact.machine  # the newest machine segment, and whoever follows it
        self._lifecycle = threading.Lock()  # around changing the reactor and closing
        self._is_inherited = False  # this is a forked child, and everything here its parent's
        self.closed = False
        not_for_children(self)

    # --- life -------------------------------------------------------------------------------------------------------

    @classmethod
    def attach(
        cls,
        *,
        runtime_dir: str,
        wait_s: float | None,
        settings: Settings,
        on_wait: Callable[[], None] | None = None,
        ensure: Callable[[], None] | None = None,
        on_machine: Callable[[MachineSegment], object] = lambda machine: None,
    ) -> EngineClient:
        """Connects and waits until every configured deployment has given this process a lane, or has failed.

        `wait_s`: None waits for ever. Called meanwhile: `on_wait` at least twice a second, `ensure` whenever no
        supervisor listens, to start one, `on_machine` with each machine segment. Raises NotReady when `wait_s` is over.
        """
        client = cls(runtime_dir=runtime_dir, settings=settings, ensure=ensure)
        with ExitStack() as undo:
            undo.callback(client.close)
            client.machines.follow(on_machine)
            client._contact.await_welcome(None if wait_s is None else Deadline.after_s(wait_s), on_wait)
            undo.pop_all()
        client._begin()
        return client

    def use_event_loop(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Lets `loop` drive; call it in that loop's thread. None: a thread drives again.

        Raises EngineClosed after `close`.
        """
        self._check_open()
        with self._lifecycle:
            self._check_open()
            old = self._reactor
            if isinstance(old, LoopReactor) and old.loop is loop:
                return
            old.close()
            self._take_over(ThreadReactor() if loop is None else LoopReactor(loop))

    def prefer_event_loop(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """`use_event_loop`, unless another loop drives and runs: two that ask would else alternate."""
        self._check_ours()
        current = self._reactor
        if isinstance(current, LoopReactor):
            if current.loop is not loop and not current.loop.is_running():
                self.use_event_loop(loop)
        elif loop is not None:
            self.use_event_loop(loop)

    def close(self) -> None:
        """Fails what is under way with EngineClosed and gives the lanes back. Idempotent; nothing in a forked child."""
        if self._is_inherited:
            return
        with self._lifecycle:
            if self.closed:
                return
            self.closed = True
            for deployment in tuple(self._roster.deployments.values()):
                deployment.dispatcher.stop()
            for ticket in self._wheel.drain():
                ticket.fail(EngineClosed("this client was closed"))
            self._reactor.close()
            self._bring_home()
            self._roster.leave()
            self._contact.close(EngineClosed("this client was closed"))
        self._contact.join()

    def let_go_in_child(self) -> None:
        """In a forked child: lanes, connection and threads are the parent's, who notices nothing."""
        self.closed = self._is_inherited = True
        self._lifecycle = threading.Lock()
        self._reactor.let_go_in_child()
        self._contact.let_go_in_child()
        self._roster.let_go_in_child()
        for ticket in self._wheel.let_go_in_child():
            ticket.let_go_in_child()

    def _take_over(self, reactor: Reactor) -> None:
        """Makes `reactor`, new and empty, drive. Descriptors are watched by level, so nothing is missed in between."""
        self._reactor = self._roster.reactor = reactor
        self._roster.watch_all()
        self._begin()

    def _begin(self) -> None:
        """Everything is watched but the supervisor: lets the reactor drive."""
        reactor = self._reactor
        self._contact.follow(reactor)
        self._alarm.follow(reactor)
        self._tick(reactor)
        if isinstance(reactor, ThreadReactor):
            reactor.start()

    def _bring_home(self) -> None:
        """Waits a bounded time until no instance works for this process any more."""
        deadline = Deadline.after_s(CLOSE_S)
        while self._roster.outstanding and not deadline.expired:
            wait_readable(self._roster.reply_fds, min(0.05, deadline.remaining_s()))
            self._roster.look_everywhere()

    # --- requests ---------------------------------------------------------------------------------------------------

    def submit(
        self,
        deployment_id: str,
        items: Sequence[Item],
        *,
        request_id: str,
        level: int = 0,
        deadline: Deadline,
        caller_hash: int = 0,
    ) -> Ticket:
        """Lets a request in and returns at once. `level`: -1 bulk, 0 normal, 1 interactive.

        The payloads must not change until the ticket is done. Raises QueueFull (with `retry_after_s`), EngineClosed,
        NotReady, DeploymentFailed, UnknownDeployment, DeadlineExceeded, InvalidField.
        """
        if self.closed:
            self._check_open()
        try:
            deployment = self._roster.deployments[deployment_id]
        except (KeyError, TypeError):
            deployment = self._find(deployment_id)  # says what is wrong
        ticket = deployment.submit(
            items, request_id=request_id, level=level, deadline=deadline, caller_hash=caller_hash
        )
        if deadline.at_ns < self._alarm.heeds_before_ns:
            self._alarm.heed()
        if self.closed:  # meanwhile, and perhaps too late for `close` to have seen this ticket
            ticket.fail(EngineClosed("this client was closed"))
        return ticket

    def description(self, deployment_id: str) -> ModelDescription:
        """The model that serves. Raises UnknownDeployment, DeploymentFailed, EngineClosed, NotReady."""
        try:
            deployment = self._roster.deployments[deployment_id]
        except (KeyError, TypeError):
            deployment = self._find(deployment_id)  # says what is wrong
        attachment = deployment.versions.ready or deployment.versions.serving()
        if attachment is None:
            raise NotReady(f"deployment {deployment_id} is between two versions")
        return attachment.description

    def deployments(self) -> list[str]:
        """Every deployment that the supervisor has spoken of and that is not gone."""
        known = tuple(self._roster.deployments.values())
        return [deployment.id for deployment in known if deployment.versions.state != "gone"]

    def state(self, deployment_id: str) -> str:
        """starting, ready, failed, closing or gone. Raises UnknownDeployment."""
        return self._find(deployment_id).versions.state

    def ready(self, deployment_id: str) -> bool:
        """Whether a request would be taken now; False for unknown ones."""
        deployment = self._roster.deployments.get(deployment_id)
        return deployment is not None and not self.closed and deployment.versions.ready is not None

    def attachment(self, deployment_id: str) -> Attachment | None:
        """The version that serves, for those who look into its segment; None when there is none."""
        deployment = self._roster.deployments.get(deployment_id)
        return None if deployment is None else deployment.versions.active

    def known_deployments(self) -> list[str]:
        """Every deployment that the supervisor has ever spoken of: what is gone has still counted."""
        return list(tuple(self._roster.deployments))

    def counters(self, deployment_id: str) -> Counters:
        """What all processes have counted; empty for unknown deployments."""
        deployment = self._roster.deployments.get(deployment_id)
        return Counters() if deployment is None else deployment.counters.read()

    def count(self, name: str, n: int = 1, *, deployment_id: str = DEFAULT_DEPLOYMENT_ID) -> None:
        """Adds to a counter of LANE_COUNTERS, of a deployment that is known here; KeyError for any other name."""
        deployment = None if self.closed else self._roster.deployments.get(deployment_id)
        if deployment is not None:
            deployment.count((name, n))

    def count_cached(self, deployment_id: str, latency_ns: int) -> None:
        """A request was answered in so many nanoseconds by what had been computed before."""
        deployment = self._roster.deployments.get(deployment_id)
        if deployment is not None and not self.closed:
            deployment.count(("cache_hits", 1), ("requests", 1), ("succeeded", 1), ("latency_ns", latency_ns))

    def machine(self) -> MachineSegment | None:
        """What all processes share apart from deployments; None while no supervisor has offered it. Closed with us."""
        return self.machines.current

    def _check_ours(self) -> None:
        if self._is_inherited:
            raise InheritedByFork()

    def _check_open(self) -> None:
        self._check_ours()
        if self.closed:
            raise EngineClosed("this client is closed")

    def _find(self, deployment_id: object) -> DeploymentClient:
        self._check_ours()
        if not isinstance(deployment_id, str):
            kind = type(deployment_id).__name__
            raise InvalidField(f"a deployment is named by a text, not {kind}", field="deployment")
        deployment = self._roster.deployments.get(deployment_id)
        if deployment is None:
            raise UnknownDeployment(f"no deployment {deployment_id}")
        return deployment

    # --- the supervisor ---------------------------------------------------------------------------------------------

    def request(self, op: str, *, timeout_s: float, fds: Sequence[int] = (), **fields: Any) -> dict[str, Any]:
        """Asks the supervisor and waits. Raises NotReady, PeerGone, DeadlineExceeded, or the error of the answer.

        Not on the event loop that drives (InternalError): the answer could not come in.
        """
        self._check_ours()
        if self._reactor.in_own_thread():
            raise InternalError("request() would wait for itself here; use `await request_async()`")
        try:
            return self._contact.questions.ask(op, fields, fds).result(min(timeout_s, threading.TIMEOUT_MAX))
        except FutureTimeoutError as error:
            raise DeadlineExceeded(f"the supervisor has not answered {op} within {timeout_s:g} s") from error

    async def request_async(
        self, op: str, *, timeout_s: float, fds: Sequence[int] = (), **fields: Any
    ) -> dict[str, Any]:
        """`request` for coroutines of any loop."""
        self._check_ours()
        future = asyncio.wrap_future(self._contact.questions.ask(op, fields, fds))
        try:
            return await asyncio.wait_for(future, timeout_s)
        except asyncio.TimeoutError as error:
            raise DeadlineExceeded(f"the supervisor has not answered {op} within {timeout_s:g} s") from error

    def _tick(self, reactor: Reactor) -> None:
        """Once a second, in the reactor's thread, for as long as `reactor` drives."""
        if reactor is self._reactor and not self.closed:
            self._roster.look_everywhere()
            self._alarm.look()
            reactor.call_at(now_ns() + TICK_NS, lambda: self._tick(reactor))
