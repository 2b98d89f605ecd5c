"""A load on a running server: so many connections, each sending the next recording once the last is answered.

One thread on an epoll, so that little is taken of the processor that it shares with the server; how much that is, is
part of the result: where it is a whole core, the client was the limit, and not the server.
"""

from __future__ import annotations

import resource
import select
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count, cycle
from typing import Any

from engine.clock import NS_PER_MS, NS_PER_S, now_ns
from engine.errors import NotReady
from frontend.cli.load_connection import LoadAnswer, LoadConnection
from frontend.cli.target import LoadTarget

LAST_ANSWERS_S = 30.0  # after the end: whoever is not answered by then is counted as unanswered
CLIENT_LIMIT = 0.85  # of a core: beyond it the client waits for itself

_LOOK_S = 0.1
_OWN_BYTES = 8  # at the end of a body, its number: no cache knows it, and four samples make no sound
_MOST_CONNECT_FAILURES = 100


@dataclass
class LoadResult:
    """What came of one step."""

    concurrency: int
    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)  # of answers with 200, in order once it is over
    others: Counter[str] = field(default_factory=Counter)  # other statuses, and what happened to connections
    parts_ms: dict[str, float] = field(default_factory=dict)  # means, as the server says of them
    cached: int = 0
    client_cores: float = 0.0  # of the processor, by this process

    @property
    def rate(self) -> float:
        """Answers with 200 a second."""
        return len(self.latencies_ms) / self.seconds if self.seconds else 0.0

    @property
    def client_was_the_limit(self) -> bool:
        return self.client_cores > CLIENT_LIMIT

    def percentile_ms(self, share: float) -> float | None:
        """None where nothing was answered."""
        ordered = self.latencies_ms
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None

    @property
    def beyond_ms(self) -> float | None:
        """Of the mean latency what the server does not know of: the way there and back, and this client."""
        if not self.latencies_ms or "total" not in self.parts_ms:
            return None
        return max(0.0, sum(self.latencies_ms) / len(self.latencies_ms) - self.parts_ms["total"])

    def to_json(self) -> dict[str, Any]:
        """As `bench --json` has it; null where nothing was measured."""
        percentiles = {f"p{share:g}": self.percentile_ms(share / 100) for share in (50, 95, 99)}
        return {
            "concurrency": self.concurrency,
            "seconds": round(self.seconds, 3),
            "answered": len(self.latencies_ms),
            "requests_per_s": round(self.rate, 1),
            "latency_ms": {**percentiles, "max": self.percentile_ms(1.0)},
            "others": dict(self.others),
            "cached": self.cached,
            "server_ms": {name: round(value, 3) for name, value in self.parts_ms.items()},
            "beyond_server_ms": self.beyond_ms,
            "client_cores": round(self.client_cores, 2),
            "client_was_the_limit": self.client_was_the_limit,
        }


class LoadRun:
    """All connections of one step; used once."""

    def __init__(self, target: LoadTarget, requests: Iterator[bytes], concurrency: int) -> None:
        self._target = target
        self._requests = requests
        self._poll = select.epoll()
        self._connections: dict[int, LoadConnection] = {}
        self._sums_ms: defaultdict[str, float] = defaultdict(float)
        self._timed = 0
        self._connect_failures = 0
        self._stop_ns = 0
        self._most = 0  # requests; 0: as many as there is time for
        self._begun = 0
        self.on_answer: Callable[[LoadAnswer], object] = bool  # hears of every answer
        self.result = LoadResult(concurrency)

    def go(self, seconds: float, most: int = 0) -> LoadResult:
        """For so long, or until so many requests are answered. Raises NotReady when nobody listens at the start."""
        began_ns, began_cpu_s = now_ns(), _own_cpu_s()
        self._stop_ns, self._most = began_ns + round(seconds * NS_PER_S), most
        try:
            for _ in range(self.result.concurrency):
                if self._may_begin():
                    self._connect()
            while self._connections and now_ns() < self._stop_ns + LAST_ANSWERS_S * NS_PER_S:
                for fd, _ in self._poll.poll(_LOOK_S):
                    self._look_at(self._connections[fd])
        except OSError as error:
            raise NotReady(f"no answer from {self._target.shown}: {error.strerror or error}") from error
        finally:
            self._close()
        self.result.seconds = (now_ns() - began_ns) / NS_PER_S
        self.result.client_cores = (_own_cpu_s() - began_cpu_s) / self.result.seconds
        self.result.latencies_ms.sort()
        self.result.parts_ms = {name: total / self._timed for name, total in self._sums_ms.items()}
        return self.result

    def _may_begin(self) -> bool:
        return now_ns() < self._stop_ns and (not self._most or self._begun < self._most)

    def _begin(self, connection: LoadConnection) -> None:
        self._begun += 1
        connection.begin(next(self._requests))

    def _connect(self) -> None:
        connection = LoadConnection(self._target)
        self._connections[connection.socket.fileno()] = connection
        self._begin(connection)
        self._poll.register(connection.socket, _interest(connection))

    def _look_at(self, connection: LoadConnection) -> None:
        wanted = connection.wants_to_send
        try:
            answer = connection.go_on()
            if answer is not None:
                self._count(answer)
            if answer is not None and (answer.closes or not self._may_begin()):
                self._end(connection, again=answer.closes)
                return
            if answer is not None:
                self._begin(connection)
        except OSError as error:  # also of a connection that was closed behind its last answer
            self.result.others[str(error.strerror or error)] += 1
            self._end(connection, again=True)
            return
        if connection.wants_to_send is not wanted:
            self._poll.modify(connection.socket, _interest(connection))

    def _count(self, answer: LoadAnswer) -> None:
        self.on_answer(answer)
        if answer.status != 200:
            self.result.others[str(answer.status)] += 1
            return
        self.result.latencies_ms.append(answer.latency_ns / NS_PER_MS)
        self.result.cached += answer.is_cached
        parts_ms = answer.parts_ms
        self._timed += bool(parts_ms)
        for name, part_ms in parts_ms.items():
            self._sums_ms[name] += part_ms

    def _end(self, connection: LoadConnection, *, again: bool) -> None:
        del self._connections[connection.socket.fileno()]
        connection.close()
        if again and self._may_begin() and self._connect_failures < _MOST_CONNECT_FAILURES:
            try:
                self._connect()
            except OSError as error:  # a server that has died; whoever is still connected goes on
                self._connect_failures += 1
                self.result.others[str(error.strerror or error)] += 1

    def _close(self) -> None:
        if self._connections:
            self.result.others["unanswered"] += len(self._connections)
        for connection in self._connections.values():
            connection.close()
        self._poll.close()


def _own_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _interest(connection: LoadConnection) -> int:
    """An answer may come before all is sent."""
    return select.EPOLLIN | (select.EPOLLOUT if connection.wants_to_send else 0)


def requests_of(target: LoadTarget, bodies: Sequence[bytes], *, same: bool) -> Iterator[bytes]:
    """All in turn, for ever; unless `same`, no two alike, in this run or in an earlier one."""
    heads = [_head(target, body) for body in bodies]
    if same:
        return cycle([head + body for head, body in zip(heads, bodies, strict=True)])
    parts = cycle([head + body[:-_OWN_BYTES] for head, body in zip(heads, bodies, strict=True)])
    return (before + number.to_bytes(_OWN_BYTES, "little") for number, before in zip(count(now_ns()), parts))


def _head(target: LoadTarget, body: bytes) -> bytes:
    headers = {"Host": target.host, "Content-Type": "application/octet-stream", "Content-Length": str(len(body))}
    lines = [f"POST {target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"
