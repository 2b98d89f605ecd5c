"""A load generator: keep-alive connections that each send the next request as soon as the last one is answered.

    python -m benchmarks.generator http://127.0.0.1:8001/api/optimized/predict night.wav --connections 16 --seconds 4

One thread on an epoll, so that it takes little of the cores that it shares with the server. Prints one JSON line. For
servers on this machine; several bodies are sent in turn, each with eight last bytes of its own, so that no cache knows
it; with `--same` they are sent as they are. `--envelope` says how they travel (`benchmarks/envelopes.py`).
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import sys
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import count, cycle
from pathlib import Path

from benchmarks.envelopes import ENVELOPES, OWN_BYTES, Enveloped, raw
from engine.clock import NS_PER_MS, NS_PER_S, now_ns

LAST_ANSWERS_S = 60.0  # after the end: whoever is not answered by then counts as an error
_RECEIVE_BYTES = 1 << 16
_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"
_CLOSES = b"\r\nconnection: close"
_CHUNKED = b"\r\ntransfer-encoding: chunked"
_LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass(frozen=True)
class Load:
    """What came of a run. `errors`: statuses other than 200, and what happened to connections, by kind."""

    answers: int  # with 200
    duration_s: float
    p50_ms: float
    p99_ms: float
    errors: dict[str, int]


class Caller:
    """One connection with one request under way."""

    def __init__(self, address: tuple[str, int]) -> None:
        """Raises OSError when nobody listens."""
        self._left = memoryview(b"")
        self._received = bytearray()
        self._began_ns = 0
        self.socket = socket.create_connection(address, timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    def begin(self, request: bytes) -> None:
        """Sends what the kernel takes; `go_on` does the rest."""
        self._left, self._began_ns = memoryview(request), now_ns()
        self._received.clear()
        self._send()

    @property
    def interest(self) -> int:
        """What to wait for: an answer may come before all is sent."""
        return select.EPOLLIN | (select.EPOLLOUT if self._left else 0)

    def go_on(self) -> tuple[int, int, bool] | None:
        """Status, latency in ns and whether the server closes, once the answer is complete. Raises OSError."""
        self._send()
        try:
            piece = self.socket.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            return None
        if not piece:
            raise ConnectionResetError("closed in place of an answer")
        self._received += piece
        head_bytes = self._received.find(_END)
        if head_bytes < 0:
            return None
        head = bytes(self._received[:head_bytes]).lower()
        if not self._is_whole(head):
            return None
        return int(head[9:12]), now_ns() - self._began_ns, _CLOSES in head

    def _is_whole(self, head: bytes) -> bool:
        if _CHUNKED in head:
            return self._received.endswith(_LAST_CHUNK)
        length = head.partition(_LENGTH)[2].partition(b"\r")[0]
        if not length.strip():
            raise ConnectionError("an answer that does not say how long it is")
        return len(self._received) >= len(head) + len(_END) + int(length)

    def _send(self) -> None:
        try:
            while self._left:
                self._left = self._left[self.socket.send(self._left) :]
        except BlockingIOError:
            return


class _Run:
    """All connections of one run."""

    def __init__(self, address: tuple[str, int], requests: Iterator[bytes], stop_ns: int) -> None:
        self._address = address
        self._requests = requests
        self._stop_ns = stop_ns
        self._poll = select.epoll()
        self._callers: dict[int, Caller] = {}
        self.latencies_ns: list[int] = []
        self.errors: Counter[str] = Counter()

    def go(self, connections: int) -> None:
        with self._poll:
            for _ in range(connections):
                self._connect()
            while self._callers and now_ns() < self._stop_ns + LAST_ANSWERS_S * NS_PER_S:
                for fd, _ in self._poll.poll(0.1):
                    self._look_at(self._callers[fd])
        self.errors["unanswered"] += len(self._callers)
        for caller in self._callers.values():
            caller.socket.close()

    def _connect(self) -> None:
        caller = Caller(self._address)
        self._callers[caller.socket.fileno()] = caller
        caller.begin(next(self._requests))
        self._poll.register(caller.socket, caller.interest)

    def _look_at(self, caller: Caller) -> None:
        try:
            answer = caller.go_on()
        except OSError as error:
            self.errors[type(error).__name__] += 1
            self._end(caller, again=True)
            return
        if answer is None:
            self._poll.modify(caller.socket, caller.interest)
            return
        status, latency_ns, closes = answer
        if status == 200:
            self.latencies_ns.append(latency_ns)
        else:
            self.errors[str(status)] += 1
        if closes or now_ns() >= self._stop_ns:
            self._end(caller, again=closes)
        else:
            caller.begin(next(self._requests))
            self._poll.modify(caller.socket, caller.interest)

    def _end(self, caller: Caller, *, again: bool) -> None:
        del self._callers[caller.socket.fileno()]
        caller.socket.close()
        if again and now_ns() < self._stop_ns:
            try:
                self._connect()
            except OSError as error:  # a server that has died; whoever is still connected goes on
                self.errors[type(error).__name__] += 1


def generate(
    url: str,
    bodies: Sequence[bytes],
    *,
    connections: int,
    seconds: float,
    same: bool = False,
    envelope: Callable[[bytes], Enveloped] = raw,
) -> Load:
    """Runs for `seconds`, then waits for what is under way. Raises OSError when nobody listens."""
    where = urllib.parse.urlsplit(url)
    address = (where.hostname or "127.0.0.1", where.port or 80)
    began_ns = now_ns()
    requests = _requests(where, list(map(envelope, bodies)), same=same)
    run = _Run(address, requests, began_ns + round(seconds * NS_PER_S))
    run.go(connections)
    ordered = sorted(run.latencies_ns) or [0]
    p50_ms, p99_ms = (ordered[min(len(ordered) - 1, len(ordered) * q // 100)] / NS_PER_MS for q in (50, 99))
    return Load(len(run.latencies_ns), (now_ns() - began_ns) / NS_PER_S, p50_ms, p99_ms, dict(+run.errors))


def _requests(where: urllib.parse.SplitResult, bodies: Sequence[Enveloped], *, same: bool) -> Iterator[bytes]:
    """All in turn, for ever; unless `same`, no two alike, in this run or in an earlier one against the same server."""
    heads = [_head(where, body) for body in bodies]
    if same:
        return cycle([head + body.body for head, body in zip(heads, bodies, strict=True)])
    parts = [
        (head + body.body[: body.own_at], body.own, body.body[body.own_at + OWN_BYTES :])
        for head, body in zip(heads, bodies, strict=True)
    ]
    numbered = zip(count(now_ns()), cycle(parts))
    return (before + own(number) + after for number, (before, own, after) in numbered)


def _head(where: urllib.parse.SplitResult, body: Enveloped) -> bytes:
    target = where.path + (f"?{where.query}" if where.query else "")
    headers = {"Host": where.netloc, **body.headers, "Content-Length": str(len(body.body))}
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + _END


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generator")
    parser.add_argument("url")
    parser.add_argument("bodies", nargs="+", type=Path, help="files that are posted in turn")
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--same", action="store_true", help="post the files as they are, again and again")
    parser.add_argument("--envelope", choices=ENVELOPES, default="raw")
    options = parser.parse_args()
    bodies = [path.read_bytes() for path in options.bodies]
    run = {"connections": options.connections, "seconds": options.seconds, "same": options.same}
    envelope = ENVELOPES[options.envelope]
    print(json.dumps(asdict(generate(options.url, bodies, envelope=envelope, **run))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
