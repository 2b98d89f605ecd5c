"""Reads and writes by key, each at the server where it is at home; whatever fails is a miss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.clock import Deadline
from engine.stores.node_pool import NodePool
from engine.stores.redis_exchange import exchange
from engine.stores.redis_pool import RedisPool
from engine.stores.redis_words import Answer, Command, RedisRefusal


class RedisKeys:
    """Keys have no braces in them. Any thread may call; each call blocks until its deadline at most."""

    def __init__(self, pool: RedisPool) -> None:
        self._pool = pool

    @property
    def usable(self) -> bool:
        """Whether asking is of use just now."""
        return self._pool.usable

    def fetch(self, keys: Sequence[bytes], deadline: Deadline) -> list[bytes | None]:
        """The value of each; None for what is not there, or what nobody told in time.

        One MGET, or in a cluster the GETs for each of its servers in one go.
        """
        home = None if self._pool.is_cluster else self._pool.home_of(b"")
        if home is None:
            return [_value(answer) for answer in self._ask_each(keys, [(b"GET", key) for key in keys], deadline)]
        answers = self._exchange({home: [(b"MGET", *keys)]}, deadline).get(home)
        if answers is None or not isinstance(answers[0], list) or len(answers[0]) != len(keys):
            return [None] * len(keys)
        return [_value(answer) for answer in answers[0]]

    def store(self, entries: Sequence[tuple[bytes, bytes, int]], deadline: Deadline) -> int:
        """Stores (key, value, milliseconds to live) each. How many the servers have said are stored."""
        commands = [(b"SET", key, value, b"PX", b"%d" % ttl_ms) for key, value, ttl_ms in entries]
        return self._ask_each([key for key, _, _ in entries], commands, deadline).count(b"OK")

    def _ask_each(self, keys: Sequence[bytes], commands: Sequence[Command], deadline: Deadline) -> list[Answer]:
        """The answer to each command, asked where its key is at home; None where there is none."""
        places: dict[NodePool, list[int]] = {}
        for at, key in enumerate(keys):
            if (home := self._pool.home_of(key)) is not None:
                places.setdefault(home, []).append(at)
        found: list[Answer] = [None] * len(keys)
        asked = {home: [commands[at] for at in there] for home, there in places.items()}
        for home, answers in self._exchange(asked, deadline).items():
            for at, answer in zip(places[home], answers, strict=True):
                found[at] = answer
        return found

    def _exchange(
        self, asked: Mapping[NodePool, Sequence[Command]], deadline: Deadline
    ) -> dict[NodePool, list[Answer]]:
        heard = exchange(asked, deadline)
        for answers in heard.values():
            for answer in answers:
                if isinstance(answer, RedisRefusal):
                    self._pool.refused(answer)
        return heard


def _value(answer: Answer) -> bytes | None:
    return answer if isinstance(answer, bytes) else None
