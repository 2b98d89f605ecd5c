"""A whole server with real stores, each behind a proxy, and clients that keep it busy."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.conformance.conftest import MODEL, SETTING, WAYS
from tests.faults.recordings import Recordings
from tests.services.postgres_server import PostgresServer
from tests.services.proxy import Proxy
from tests.services.redis_server import RedisServer
from tests.support.http import ConnectionEnded
from tests.support.server import ServerProcess
from tests.support.wait import wait_for

OPTIMIZED = "/api/optimized/predict"
HEALTH, STATS = "/api/optimized/health", "/api/optimized/stats"
STORES = ("redis", "postgres")
MS_PER_S = 1000
_PAUSE_S = 0.004  # of a client between two requests: what is looked at is not how fast they go
REDIS_AWAY, POSTGRES_AWAY = "Redis does not answer", "Postgres does not answer"


class Answered(NamedTuple):
    """One request of a client."""

    began_s: float  # monotonic
    took_s: float
    status: int


@dataclass
class Heard:
    """What the clients of a load got. Written by all of them, read when they are done."""

    answers: list[Answered] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Everybody was answered, and well."""
        assert not self.failures, self.failures[:5]
        statuses = {answer.status for answer in self.answers}
        assert statuses == {200}, sorted(statuses)

    def quantile_s(self, share: float, *, after_s: float = 0.0, before_s: float = math.inf) -> float:
        """The time that this share of the requests begun between the moments did not exceed."""
        ordered = sorted(each.took_s for each in self.answers if after_s <= each.began_s < before_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class StoreRig:
    """Redis and Postgres, the proxies before them, and the server that uses them. Made by `store_rig`."""

    def __init__(self, redis: RedisServer, postgres: PostgresServer, proxies: tuple[Proxy, Proxy]) -> None:
        self.redis = redis
        self.postgres = postgres
        self.redis_proxy, self.postgres_proxy = proxies
        self.recordings = Recordings()

    def addresses(self, *, stores: Sequence[str] = STORES, direct: bool = False) -> dict[str, str]:
        """The variables that name those stores; `direct`: without the proxies."""
        redis_port = self.redis.port if direct else self.redis_proxy.port
        postgres_port = self.postgres.port if direct else self.postgres_proxy.port
        found = {
            "redis": (f"{SETTING}REDIS_URL", f"redis://127.0.0.1:{redis_port}/0"),
            "postgres": (f"{SETTING}DATABASE_URL", self.postgres.url(port=postgres_port)),
        }
        return dict(found[store] for store in stores)

    def postgres_rows(self) -> int:
        """Rows of the journal; of no key there are two."""
        ((rows, keys),) = self.postgres.rows("SELECT count(*), count(DISTINCT id) FROM nightscan_engine.answers")
        assert rows == keys
        return int(rows)

    @contextmanager
    def server(
        self, *, stores: Sequence[str] = STORES, direct: bool = False, **settings: object
    ) -> Iterator[ServerProcess]:
        """A server that uses them."""
        own = {f"{SETTING}{name.upper()}": str(value) for name, value in settings.items()}
        environment = {**MODEL, **self.addresses(stores=stores, direct=direct), **own}
        with ServerProcess(WAYS["fast lane"], environment=environment, ready="/ready") as process:
            yield process

    @contextmanager
    def load(self, process: ServerProcess, *, clients: int = 3) -> Iterator[Heard]:
        """Uploads while the block runs; afterwards all that were begun are answered."""
        with load(process, self.recordings, clients=clients) as heard:
            yield heard


@contextmanager
def load(process: ServerProcess, recordings: Recordings, *, clients: int = 3) -> Iterator[Heard]:
    """Uploads of recordings that nobody has heard yet, while the block runs; afterwards all that were begun are
    answered."""
    heard, enough = Heard(), threading.Event()
    threads = [
        threading.Thread(target=_upload, args=(process, recordings, heard, enough), name=f"client-{number}")
        for number in range(clients)
    ]
    for thread in threads:
        thread.start()
    try:
        yield heard
    finally:
        enough.set()
        for thread in threads:
            thread.join()


def _upload(process: ServerProcess, recordings: Recordings, heard: Heard, enough: threading.Event) -> None:
    connection = process.connect()
    for recording in recordings:
        if enough.wait(_PAUSE_S):
            break
        begin = time.monotonic()
        try:
            response = connection.request("POST", OPTIMIZED, recording, {"Content-Type": "audio/wav"})
        except (OSError, ConnectionEnded) as error:
            heard.failures.append(repr(error))
            break
        heard.answers.append(Answered(begin, time.monotonic() - begin, response.status))
        if response.closes:
            connection.close()
            connection = process.connect()
    connection.close()


@contextmanager
def store_rig() -> Iterator[StoreRig]:
    """Both servers run inside, and are gone afterwards."""
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(kept=True))
        postgres = stack.enter_context(PostgresServer())
        proxies = (stack.enter_context(Proxy(redis.port)), stack.enter_context(Proxy(postgres.port)))
        yield StoreRig(redis, postgres, proxies)


def health_of(process: ServerProcess) -> dict[str, Any]:
    """What the engine says of itself."""
    found: dict[str, Any] = process.fetch("GET", HEALTH).json()
    return found


def stats_of(process: ServerProcess) -> dict[str, Any]:
    """The statistics, as any frontend gives them."""
    found: dict[str, Any] = process.fetch("GET", STATS).json()
    return found


def wait_reason(process: ServerProcess, reason: str, *, timeout_s: float = 20.0) -> None:
    """Until health is degraded for that reason; `/ready` is 200 all the while."""

    def told() -> bool:
        assert process.fetch("GET", "/ready").status == 200
        return any(each.startswith(reason) for each in health_of(process)["reasons"])

    wait_for(told, f"health says: {reason}", timeout_s=timeout_s)


def wait_well(process: ServerProcess, *, timeout_s: float = 20.0) -> float:
    """Until health is well, with connections to all that is configured; how long that took, in seconds."""
    begin = time.monotonic()
    pools = stats_of(process)["connection_pools"]
    wanted = {pool: pools[pool]["state"] != "not configured" for pool in ("database", "redis")}

    def well() -> bool:
        found = health_of(process)
        return bool(found["status"] == "healthy" and found["active_connections"] == wanted)

    with contextlib.suppress(AssertionError):
        wait_for(well, "all is well", timeout_s=timeout_s)
    assert well(), health_of(process)
    return time.monotonic() - begin


def wait_sent(process: ServerProcess, *, timeout_s: float = 30.0) -> int:
    """Until every record is where it is to be at last; how many there are."""

    def sent() -> bool:
        journal = stats_of(process)["journal"]
        last = journal["sent"] if journal["backend"] == "postgres" else journal["stored"]
        return bool(last == journal["stored"] == journal["recorded"])

    wait_for(sent, "the journal is empty", timeout_s=timeout_s)
    return int(stats_of(process)["journal"]["recorded"])
