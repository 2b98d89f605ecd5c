"""Keeps the connections to one Redis server: opens, probes and closes them, in a thread of its own.

A thread for each server: one that is frozen keeps nobody waiting but itself. An answer that does not come in time is
waited for here: the connection stays, since another one would only be one more that a frozen server finds when it goes
on. That is how no more connections than allowed are ever seen there.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from engine.clock import Deadline
from engine.errors import StoreUnavailable
from engine.stores.node_pool import NodePool
from engine.stores.redis_address import RedisNode
from engine.stores.redis_words import Link

COMMAND_S = 0.05  # who asks waits no longer; a server that takes longer for a sign of life is of no use
LONGEST_OPEN_S = 2.0  # the longest attempt to connect: a server that is back is used within one and a pause
PROBE_EVERY_S = 1.0
LEAVE_S = 1.0  # for the server to close its end
LOOK_S = 0.05  # how often it is looked for late answers, and whether it is time to try again
ATTEMPT_PAUSE_S = 0.1  # between attempts to open while the breaker is closed
LONGEST_LATE_S = 120.0  # arbitrary; longer than an outage that is worth waiting for
MOST_OWED = 64  # answers on one connection: signs of life that were asked for in vain
NOW = Deadline(0)  # reads and writes what can be without waiting

Connect = Callable[[RedisNode, Deadline], Link]


class NodeKeeper:
    """`start` after the fork, `close` at the end. All that it does with the pool is done by its own thread."""

    def __init__(self, pool: NodePool, connect: Connect, *, open_s: float) -> None:
        self.pool = pool
        self._connect = connect
        self._open_s = min(open_s, LONGEST_OPEN_S)
        self._probe_at = self._poke_at = self._open_at = Deadline.after_s(0.0)
        self._give_up_at = Deadline.after_s(LONGEST_LATE_S)  # pushed on while nothing is late
        self._has_settled = False  # answers that were late have just come
        self._ended = False  # writer: whoever closes
        self._thread = threading.Thread(target=self._run, name=f"redis {pool.node}", daemon=True)

    def start(self) -> None:
        """Begins to open connections."""
        self._thread.start()

    def close(self, *, wait_s: float) -> None:
        """Closes the pool, and waits for the thread up to `wait_s`: it may be resolving a name."""
        self._ended = True
        self.pool.close()
        if self._thread.is_alive():
            self._thread.join(wait_s)

    def _run(self) -> None:
        while not self._ended:
            self.pool.wanted.clear()  # before the look: what is wanted during it is looked for again
            self._close_surplus()
            late = self._settle_late()
            if self.pool.closed_breaker:
                self._probe()
                self._open_missing()
            elif self._has_settled or self.pool.may_try():
                self._try_again()
            self.pool.wanted.wait(LOOK_S if late or not self.pool.closed_breaker else PROBE_EVERY_S)

    def _close_surplus(self) -> None:
        while (link := self.pool.take_surplus()) is not None:
            link.leave(Deadline.after_s(LEAVE_S))
            self.pool.keep(None)

    # --- answers that are late --------------------------------------------------------------------------------------

    def _settle_late(self) -> bool:
        """Reads what has come meanwhile. Whether some are late still."""
        links = self.pool.take_late()
        poke = self._poke_at.expired
        if poke:
            self._poke_at = Deadline.after_s(PROBE_EVERY_S)
        for link in links:
            with contextlib.suppress(StoreUnavailable):  # the link itself says what became of it
                link.receive(NOW)
                if poke and 0 < link.owed < MOST_OWED:  # a peer that has forgotten the connection says so now
                    link.send([(b"PING",)], NOW)
            if link.owed and self._give_up_at.expired:
                link.close()
            self.pool.keep(link)
        late = any(link.owed and not link.broken for link in links)
        if not late:
            self._give_up_at = Deadline.after_s(LONGEST_LATE_S)
        self._has_settled = any(not link.owed and not link.broken for link in links)
        return late

    # --- signs of life ----------------------------------------------------------------------------------------------

    def _probe(self) -> None:
        """Once a second, on each idle connection; stops at the first that fails."""
        if not self._probe_at.expired:
            return
        self._probe_at = Deadline.after_s(PROBE_EVERY_S)
        for _ in range(self.pool.statistics().idle):
            link = self.pool.take_idle()
            if link is None:
                return
            if not self._alive(link):
                self._probe_at = Deadline.after_s(LOOK_S)  # whether that was all
                return

    def _alive(self, link: Link) -> bool:
        """Whether it answers in time; the link goes back."""
        try:
            link.ask([(b"PING",)], Deadline.after_s(COMMAND_S))
        except StoreUnavailable as error:
            self.pool.keep(link)
            self.pool.server_failed(str(error))
            return False
        self.pool.keep(link)
        self.pool.server_answered()
        return True

    def _try_again(self) -> None:
        """Where nobody asks the server since it failed: whether it is back. What was late and came says it may be."""
        if (link := self.pool.take_idle()) is not None:
            self._alive(link)
        elif self.pool.begin_opening():
            self._open()
        else:
            self.pool.nothing_to_try()

    # --- opening ----------------------------------------------------------------------------------------------------

    def _open_missing(self) -> None:
        """Until as many are open as are wanted, or one attempt failed: the next is made after a pause."""
        while self._open_at.expired and self.pool.begin_opening():
            if not self._open():
                self._open_at = Deadline.after_s(ATTEMPT_PAUSE_S)

    def _open(self) -> bool:
        """Opens one and says how that went; begin_opening has counted it. One whose greeting is late is kept."""
        link, deadline = None, Deadline.after_s(self._open_s)
        try:
            link = self._connect(self.pool.node, deadline)
            self.pool.opened()
            link.greet(deadline)
        except StoreUnavailable as error:
            self.pool.keep(link)
            self.pool.server_failed(str(error))
            return False
        return self._alive(link)
