"""Finds out what there is where `redis_url` points: one server, or a cluster and its primaries."""

from __future__ import annotations

from engine.clock import Deadline
from engine.errors import StoreUnavailable
from engine.stores.node_keeper import LEAVE_S, NOW, Connect
from engine.stores.redis_address import RedisAddress, RedisNode
from engine.stores.redis_words import Answer, Link
from engine.stores.slot_map import ASK_SLOTS

ANSWER_S = 0.5  # for the list of slots: nobody waits for it but the scout


class Scout:
    """Used while no server is known, by one thread. At most one connection to each server that the address names.

    A connection that is not answered is kept and heard again: a server that is frozen is not left with a heap of them.
    """

    def __init__(self, address: RedisAddress, connect: Connect, *, open_s: float) -> None:
        self._address = address
        self._connect = connect
        self._open_s = open_s
        self._links: dict[RedisNode, Link] = {}
        self.errors = self.opened = 0
        self.trouble = ""

    @property
    def open(self) -> int:
        """The most connections that it may have open to one server."""
        return int(any(not link.broken for link in self._links.values()))

    def look(self) -> tuple[RedisNode, Answer] | None:
        """Who answered first, and what it said when asked for the slots of the cluster. None: nobody did."""
        for node in self._address.nodes:
            try:
                return node, self._ask(node)
            except StoreUnavailable as error:
                self.errors += 1
                self.trouble = str(error)
        return None

    def _ask(self, node: RedisNode) -> Answer:
        link = self._links.get(node)
        if link is None or link.broken:
            deadline = Deadline.after_s(self._open_s)
            link = self._links[node] = self._connect(node, deadline)
            self.opened += 1
            link.greet(deadline)
        link.receive(NOW)  # what came late
        return link.ask([ASK_SLOTS], Deadline.after_s(ANSWER_S))[0]

    def leave(self) -> None:
        """Closes its connections; where the server answers, until they do not count there any more."""
        for link in self._links.values():
            if link.broken or link.owed:
                link.close()
            else:
                link.leave(Deadline.after_s(LEAVE_S))
        self._links.clear()
