"""Clients that count what they are answered, and one that scrapes without a pause."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType

from prometheus_client.parser import text_string_to_metric_families

from engine.observe.metrics import http_counter
from tests.support.http import Connection, ConnectionEnded
from tests.support.server import ServerProcess

Series = dict[str, float]
SCRAPE_EVERY_S = 0.05
_GROWING = ("_total", "_bucket", "_count", "_sum")


def series_of(text: str) -> Series:
    """Every sample that may only grow, read as Prometheus reads it."""
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.type in ("counter", "histogram") and sample.name.endswith(_GROWING)
    }


@dataclass(frozen=True)
class Call:
    """One request, and what it must be answered with."""

    status: int
    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    or_else: int = 0  # another status that is right, too

    @property
    def endpoint(self) -> str:
        """Where its answer is counted."""
        if self.method != "POST":
            return "other"
        path = self.path.partition("?")[0]
        return {"/api/optimized/predict": "optimized", "/api/predict": "legacy"}.get(path, "other")


class CountingClients:
    """Sends calls in turn, over connections that are kept until the server announces their end. Thread-safe."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._lock = threading.Lock()
        self.counted: Counter[str] = Counter()  # by the name of the counter that must say so
        self.wrong: list[str] = []

    def answered(self, call: Call, status: int, body: bytes = b"") -> None:
        """Somebody got this answer."""
        with self._lock:
            self.counted[http_counter(call.method, call.endpoint, status)] += 1
            if status not in (call.status, call.or_else):
                self.wrong.append(f"{call.method} {call.path}: {status}, not {call.status}: {body!r:.200}")

    def run(self, calls: list[Call], *, clients: int) -> None:
        """All of them, by so many clients at once; returns after the last answer."""
        left = iter(calls)
        threads = [threading.Thread(target=self._work, args=(left,), name=f"client-{k}") for k in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, left: Iterator[Call]) -> None:
        connection: Connection | None = None
        while (call := self._next(left)) is not None:
            connection = connection or self._server.connect()
            try:
                response = connection.request(call.method, call.path, call.body, dict(call.headers))
            except (OSError, ConnectionEnded) as error:
                self.wrong.append(f"{call.method} {call.path}: {error!r}")
                connection.close()
                connection = None
                continue
            self.answered(call, response.status, response.body)
            if response.closes:
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _next(self, left: Iterator[Call]) -> Call | None:
        with self._lock:
            return next(left, None)


class Scraper:
    """Reads all texts in turn without a pause inside `with`; no series may ever be smaller than in any text before."""

    def __init__(self, *sources: Callable[[], str | None]) -> None:
        """A source that gives None is not there just now."""
        self._sources = sources
        self._most: Series = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scraper")
        self.scrapes = [0] * len(sources)
        self.fell: list[str] = []

    def __enter__(self) -> Scraper:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(SCRAPE_EVERY_S):
            for number, source in enumerate(self._sources):
                text = source()
                if text is not None:
                    self.scrapes[number] += 1
                    self._compare(number, series_of(text))

    def _compare(self, number: int, found: Series) -> None:
        for name, value in found.items():
            if value < self._most.get(name, 0.0):
                self.fell.append(f"source {number}: {name} {self._most[name]} -> {value}")
        self._most.update(found)
