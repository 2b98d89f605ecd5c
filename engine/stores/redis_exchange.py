"""One exchange with several Redis servers at a time: all are asked first, then each is heard as it answers."""

from __future__ import annotations

import select
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress

from engine.clock import Deadline
from engine.errors import StoreUnavailable
from engine.stores.node_pool import NodePool
from engine.stores.redis_words import Answer, Command, Link

FREE_LINK_S = 0.005  # for the keeper to give back the only connection, which it is probing
_MS_PER_S = 1000


def exchange(asked: Mapping[NodePool, Sequence[Command]], deadline: Deadline) -> dict[NodePool, list[Answer]]:
    """The answers of those servers that gave all of theirs by the deadline; the others are left out."""
    answers: dict[NodePool, list[Answer]] = {}
    with ExitStack() as borrowed:
        links: dict[int, tuple[NodePool, Link]] = {}
        for pool, commands in asked.items():
            with suppress(StoreUnavailable):
                link = borrowed.enter_context(pool.acquire(min(FREE_LINK_S, deadline.remaining_s())))
                link.send(commands, deadline)
                links[link.fileno()] = (pool, link)
        for pool, link in _as_they_answer(links, deadline):
            with suppress(StoreUnavailable):  # the pool sees in which state it comes back
                answers[pool] = link.receive(deadline)
    return answers


def _as_they_answer(links: dict[int, tuple[NodePool, Link]], deadline: Deadline) -> Iterator[tuple[NodePool, Link]]:
    """Those that have begun to answer; after the deadline the rest, which may have just done so."""
    if len(links) > 1:
        poller = select.poll()
        for descriptor in links:
            poller.register(descriptor, select.POLLIN)
        while len(links) > 1 and (ready := poller.poll(deadline.remaining_s() * _MS_PER_S)):
            for descriptor, _ in ready:
                poller.unregister(descriptor)  # before it is read: that may close it
                yield links.pop(descriptor)
    yield from links.values()
