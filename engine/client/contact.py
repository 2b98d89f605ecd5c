"""The client's contact with whichever supervisor lives: the first welcome, and finding the next one when it is gone.

Losing it changes nothing for requests on their way. What starts the engine again is called in a thread of its own,
because it takes time that the reactor does not have.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from engine.client.questions import Questions
from engine.client.reactor import Reactor, wait_readable
from engine.client.roster import Roster
from engine.client.shared_machine import SharedMachine
from engine.clock import NS_PER_S, Deadline, now_ns
from engine.control.link import OFFERS, ControlLink
from engine.errors import EngineError, MixedLayouts, NotReady, PeerGone, ProtocolError

_HANDSHAKE_STEP_S = 0.25  # between two calls of on_wait while attaching
_ENSURE_AFTER_TRIES = 4  # a supervisor that restarts is back by then; a keeper that died is not

_log = logging.getLogger(__name__)


class Contact:
    """In the reactor's thread, or before there is one, but for `questions` and `machine`."""

    def __init__(self, runtime_dir: str, roster: Roster, ensure: Callable[[], None] | None) -> None:
        self._runtime_dir = runtime_dir
        self._link = ControlLink(runtime_dir, role="frontend")
        self._link.holds = roster.holds
        self.questions = Questions(self._link)
        self.machine = SharedMachine()
        self._roster = roster
        roster.tell = self._link.send
        self._reactor: Reactor | None = None
        self._ensure = ensure
        self._ensuring: threading.Thread | None = None
        self._ensure_error = ""  # what it met last
        self._tries = 0  # to reconnect, in a row
        self._closed = False

    def await_welcome(self, deadline: Deadline | None, on_wait: Callable[[], None] | None) -> None:
        """Blocks until the roster is complete. Raises NotReady at the deadline, MixedLayouts if it is in vain."""
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
                wait_readable([self._link.fileno()], step_s)
                self._link.receive_all(self._on_message)
                self._check_layout()
            except NotReady:
                if self._ensure is not None:
                    self._ensure()
                wait_readable([], min(step_s, self._link.next_back_off_s()))
            except MixedLayouts:
                raise
            except (PeerGone, ProtocolError) as error:
                self._drop(error)

    def _check_layout(self) -> None:
        if self._roster.mixed is not None:
            raise MixedLayouts(
                f"the engine in {self._runtime_dir} is of a release that lays memory out in another way "
                f"({self._roster.mixed}): this one needs an engine of its own, in another runtime_dir, and another port"
            )

    def follow(self, reactor: Reactor) -> None:
        """`reactor` drives from now on, or is about to."""
        self._reactor = reactor
        self._watch(reactor)

    def close(self, error: EngineError) -> None:
        """Hangs up; whoever waits for the supervisor's word gets `error`. Idempotent."""
        self._closed = True
        self._drop(error)
        self._link.close()
        self.machine.close()

    def join(self) -> None:
        """Waits until nothing is being started any more."""
        if self._ensuring is not None:
            self._ensuring.join()

    def let_go_in_child(self) -> None:
        """In a forked child: nothing is said over the connection, which is the parent's."""
        self._closed = True
        self._ensuring = None
        self._link.close()  # the child's copies
        self.questions.let_go_in_child()
        self.machine.let_go_in_child()

    # --- events -----------------------------------------------------------------------------------------------------

    def _watch(self, reactor: Reactor) -> None:
        if self._link.is_open:
            reactor.watch(self._link.fileno(), self._on_readable)
        else:
            self._try_again_later(reactor)

    def _on_message(self, message: dict[str, Any], fds: list[int]) -> None:
        if message["type"] == "result":
            self.questions.answered(message)
            return
        if message["type"] in OFFERS:
            self.machine.look(self._link.process)  # before whoever waits for the welcome goes on
        if message["type"] == "offer":
            return
        self._roster.handle(message, fds)

    def _on_readable(self) -> None:
        fd, reactor = self._link.fileno(), self._reactor
        assert reactor is not None  # it is what calls this
        try:
            self._link.receive_all(self._on_message)
        except (PeerGone, ProtocolError) as error:
            _log.info("the supervisor is gone (%s); serving goes on", error)
            reactor.unwatch(fd)
            self._drop(error)
            self._tries = 0
            self._try_again_later(reactor)

    def _drop(self, error: EngineError) -> None:
        self._link.drop()
        self.questions.give_up(error)

    def _try_again_later(self, reactor: Reactor) -> None:
        at_ns = now_ns() + int(self._link.next_back_off_s() * NS_PER_S)
        reactor.call_at(at_ns, lambda: self._reconnect(reactor))

    def _reconnect(self, reactor: Reactor) -> None:
        if self._closed or self._link.is_open or reactor is not self._reactor:
            return
        self._tries += 1
        try:
            self._link.open()
        except EngineError:
            if self._tries >= _ENSURE_AFTER_TRIES:
                self._ensure_elsewhere()
        self._watch(reactor)

    def _ensure_elsewhere(self) -> None:
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
        except (EngineError, OSError) as error:
            if str(error) != self._ensure_error:
                _log.warning("the engine cannot be started again, tried on: %s", error)
            self._ensure_error = str(error)
