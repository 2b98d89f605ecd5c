"""The client itself: attach, submit, close. One per process; in a forked child it is an error to use it.

Life: `attach` waits for the supervisor's welcome in the calling thread; then a thread drives the client until
`use_event_loop` puts an asyncio loop in its place; `close` answers whoever still waits and lets go of everything.
"""

from __future__ import annotations

import asyncio
import logging
import select
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from engine.client.attachment import Attachment
from engine.client.deadlines import BUCKET_BITS, DeadlineWheel
from engine.client.deployment_client import DeploymentClient
from engine.client.questions import Questions
from engine.client.reactor import LoopReactor, Reactor, ThreadReactor
from engine.client.roster import Roster
from engine.client.tally import known_counter
from engine.client.ticket import Ticket
from engine.clock import NS_PER_S, Deadline, now_ns
from engine.config import Settings
from engine.control.link import ControlLink
from engine.errors import (
    DeadlineExceeded,
    EngineClosed,
    EngineError,
    InheritedByFork,
    InternalError,
    InvalidField,
    NotReady,
    PeerGone,
    ProtocolError,
    UnknownDeployment,
)
from engine.observe.counters import Counters
from engine.shm.forked import not_for_children
from engine.shm.item import Item
from engine.spec import DEFAULT_DEPLOYMENT_ID, ModelDescription

TICK_NS = NS_PER_S  # the belt against lost hints
CLOSE_S = 1.0  # how long `close` waits for instances to give back what they compute for nobody
_HANDSHAKE_STEP_S = 0.25  # between two calls of on_wait while attaching
_ENSURE_AFTER_TRIES = 4  # a supervisor that restarts is back by then; a keeper that died is not

_log = logging.getLogger(__name__)


class EngineClient:
    """A frontend's way into the engine. Every method may be called from every thread unless it says otherwise."""

    def __init__(self, *, runtime_dir: str, settings: Settings, ensure: Callable[[], None] | None = None) -> None:
        """Use `attach`."""
        self._wheel: DeadlineWheel[Ticket] = DeadlineWheel()
        self._reactor: Reactor = ThreadReactor()
        self._roster = Roster(settings, reactor=self._reactor, wheel=self._wheel)
        self._link = ControlLink(runtime_dir, role="frontend")
        self._link.holds = self._roster.holds
        self._questions = Questions(self._link)
        self._roster.tell = self._link.send
        self._ensure = ensure
        self._ensuring: threading.Thread | None = None
        self._ensure_error = ""  # what it met last
        self._tries = 0  # to reconnect, in a row
        self._armed_ns = 0  # when the deadline timer fires; 0: it does not
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
    ) -> EngineClient:
        """Connects and waits until every configured deployment has given this process a lane, or has failed.

        `wait_s`: None waits for ever. `on_wait` is called at least twice a second meanwhile; `ensure` whenever no
        supervisor listens, to start one. Raises NotReady when `wait_s` is over.
        """
        client = cls(runtime_dir=runtime_dir, settings=settings, ensure=ensure)
        try:
            client._await_welcome(None if wait_s is None else Deadline.after_s(wait_s), on_wait)
        except BaseException:
            client.close()
            raise
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
            self._drop_link(EngineClosed("this client was closed"))
            self._link.close()
        if self._ensuring is not None:
            self._ensuring.join()

    def let_go_in_child(self) -> None:
        """In a forked child: lanes, connection and threads are the parent's, who notices nothing."""
        self.closed = self._is_inherited = True
        self._lifecycle = threading.Lock()
        self._ensuring = None
        self._reactor.let_go_in_child()
        self._link.close()  # the child's copies: nothing is said over the connection, which is the parent's
        self._questions.let_go_in_child()
        self._roster.let_go_in_child()
        for ticket in self._wheel.let_go_in_child():
            ticket.let_go_in_child()

    def _await_welcome(self, deadline: Deadline | None, on_wait: Callable[[], None] | None) -> None:
        while not self._roster.welcomed:
            if on_wait is not None:
                on_wait()
            if deadline is not None and deadline.expired:
                told = self._roster.obstacles
                raise NotReady("the engine was not ready in time" + (f" ({told})" if told else ""))
            step_s = _HANDSHAKE_STEP_S if deadline is None else min(_HANDSHAKE_STEP_S, deadline.remaining_s())
            try:
                if not self._link.is_open:
                    self._link.open()
                _poll([self._link.fileno()], step_s)
                self._link.receive_all(self._on_message)
            except NotReady:
                if self._ensure is not None:
                    self._ensure()
                _poll([], min(step_s, self._link.next_back_off_s()))
            except (PeerGone, ProtocolError) as error:
                self._drop_link(error)

    def _take_over(self, reactor: Reactor) -> None:
        """Makes `reactor`, new and empty, drive. Descriptors are watched by level, so nothing is missed in between."""
        self._reactor = self._roster.reactor = reactor
        self._roster.watch_all()
        self._begin()

    def _begin(self) -> None:
        """Everything is watched but the link: lets the reactor drive."""
        reactor = self._reactor
        self._watch_link()
        self._armed_ns = 0
        self._arm()
        self._tick(reactor)
        if isinstance(reactor, ThreadReactor):
            reactor.start()

    def _bring_home(self) -> None:
        """Waits a bounded time until no instance works for this process any more."""
        deadline = Deadline.after_s(CLOSE_S)
        while self._roster.outstanding and not deadline.expired:
            _poll(self._roster.reply_fds, min(0.05, deadline.remaining_s()))
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
        if not 0 < self._armed_ns <= deadline.at_ns + (1 << BUCKET_BITS):
            self._arm_soon()
        if self.closed:  # meanwhile, and perhaps too late for `close` to have seen this ticket
            ticket.fail(EngineClosed("this client was closed"))
        return ticket

    def description(self, deployment_id: str) -> ModelDescription:
        """The model that serves. Raises UnknownDeployment, DeploymentFailed, EngineClosed, NotReady."""
        attachment = self._find(deployment_id).versions.serving()
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
        """Adds to a lane counter of engine.observe.metrics; nothing for a deployment that does not exist."""
        deployment = self._roster.deployments.get(deployment_id)
        if deployment is not None and not self.closed:
            deployment.count((known_counter(name), n))

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
            return self._questions.ask(op, fields, fds).result(min(timeout_s, threading.TIMEOUT_MAX))
        except FutureTimeoutError as error:
            raise DeadlineExceeded(f"the supervisor has not answered {op} within {timeout_s:g} s") from error

    async def request_async(
        self, op: str, *, timeout_s: float, fds: Sequence[int] = (), **fields: Any
    ) -> dict[str, Any]:
        """`request` for coroutines of any loop."""
        self._check_ours()
        future: Future[dict[str, Any]] = self._questions.ask(op, fields, fds)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), timeout_s)
        except asyncio.TimeoutError as error:
            raise DeadlineExceeded(f"the supervisor has not answered {op} within {timeout_s:g} s") from error

    # --- events, in the reactor's thread ----------------------------------------------------------------------------

    def _watch_link(self) -> None:
        if self._link.is_open:
            self._reactor.watch(self._link.fileno(), self._on_control)
        else:
            self._try_again_later()

    def _on_message(self, message: dict[str, Any], fds: list[int]) -> None:
        if message["type"] == "result":
            self._questions.answered(message)
        else:
            self._roster.handle(message, fds)

    def _drop_link(self, error: EngineError) -> None:
        self._link.drop()
        self._questions.give_up(error)

    def _on_control(self) -> None:
        fd = self._link.fileno()
        try:
            self._link.receive_all(self._on_message)
        except (PeerGone, ProtocolError) as error:
            _log.info("the supervisor is gone (%s); serving goes on", error)
            self._reactor.unwatch(fd)
            self._drop_link(error)
            self._tries = 0
            self._try_again_later()

    def _try_again_later(self) -> None:
        reactor = self._reactor
        at_ns = now_ns() + int(self._link.next_back_off_s() * NS_PER_S)
        reactor.call_at(at_ns, lambda: self._reconnect() if reactor is self._reactor else None)

    def _reconnect(self) -> None:
        if self.closed or self._link.is_open:
            return
        self._tries += 1
        try:
            self._link.open()
        except EngineError:
            if self._tries >= _ENSURE_AFTER_TRIES:
                self._ensure_elsewhere()
        self._watch_link()

    def _ensure_elsewhere(self) -> None:
        """Starting processes takes time that the reactor does not have."""
        if self._ensure is None or (self._ensuring is not None and self._ensuring.is_alive()):
            return
        self._ensuring = threading.Thread(
            target=self._ensure_once, args=(self._ensure,), name="nightscan-ensure", daemon=True
        )
        self._ensuring.start()

    def _ensure_once(self, ensure: Callable[[], None]) -> None:
        """Every next try calls it again, whatever it met."""
        try:
            ensure()
        except Exception as error:
            if str(error) != self._ensure_error:
                _log.warning("the engine cannot be started again, tried on: %s", error)
            self._ensure_error = str(error)

    def _tick(self, reactor: Reactor) -> None:
        """Once a second, for as long as `reactor` drives."""
        if reactor is self._reactor and not self.closed:
            self._roster.look_everywhere()
            if self._armed_ns <= now_ns():  # a timer that fires sets it anew; one that was lost does not
                self._armed_ns = 0
            self._arm()
            reactor.call_at(now_ns() + TICK_NS, lambda: self._tick(reactor))

    def _arm_soon(self) -> None:
        reactor = self._reactor
        if reactor.in_own_thread():
            self._arm()
        else:
            reactor.call(self._arm)

    def _arm(self) -> None:
        """Sets the timer to the next deadline, if it is not earlier set already."""
        next_ns = self._wheel.next_ns()
        if next_ns is not None and not 0 < self._armed_ns <= next_ns:
            self._armed_ns = next_ns
            self._reactor.call_at(next_ns, self._expire)

    def _expire(self) -> None:
        self._armed_ns = 0
        for ticket in self._wheel.due(now_ns()):
            ticket.expire()
        self._arm()


def _poll(fds: Sequence[int], timeout_s: float) -> None:
    """Waits until one of `fds` is readable, at most `timeout_s` seconds."""
    poller = select.poll()
    for fd in fds:
        poller.register(fd, select.POLLIN)
    poller.poll(timeout_s * 1000)
