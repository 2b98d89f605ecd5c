"""The processes of a real server have no more connections to Redis than the total, whatever becomes of them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.workloads import WORKLOADS
from engine.errors import EngineError
from tests.serving.servers import processes_of, version_of, workload_server
from tests.services.redis_cluster import RedisCluster
from tests.services.redis_server import RedisServer
from tests.support.server import ServerProcess
from tests.support.wait import wait_for

TOTAL = 6
WORKERS = 4
SETTINGS = {
    "model_pool_size": 1, "model_warmup_requests": 1, "max_batch_size": 2, "workers": WORKERS,
    "redis_max_connections": TOTAL, "redis_min_connections": TOTAL, "journal": "off",
}  # fmt: skip
EVERY_S = 0.05


class Counter:
    """The most connections that each of several servers has seen at a time, looked at all the time."""

    def __init__(self, servers: Sequence[RedisServer]) -> None:
        self.most = [0] * len(servers)
        self.now = [0] * len(servers)
        self._servers = servers
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ended.wait(EVERY_S):
            self.now = [len(server.connections()) for server in self._servers]
            self.most = [max(pair) for pair in zip(self.most, self.now, strict=True)]

    def __enter__(self) -> Counter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10.0)


def check_bounds(servers: Sequence[RedisServer], url: str, folder: Path) -> None:
    with Counter(servers) as counter:
        with workload_server(WORKLOADS["tiny"], folder, {**SETTINGS, "redis_url": url}) as process:
            full = [TOTAL] * len(servers)
            wait_for(lambda: counter.now == full, "all that is lent is used")
            _replaced_by_hup(process)
            wait_for(lambda: counter.now == full, "all that is lent is used again")
            (supervisor,) = processes_of(process, "engine.supervisor")
            os.kill(supervisor, signal.SIGKILL)
            os.kill(process.workers()[0], signal.SIGKILL)
            wait_for(lambda: _has_successor(process, supervisor), "a supervisor that has adopted what there is")
            wait_for(lambda: len(process.workers()) == WORKERS and counter.now == full, "all is as it was")
        wait_for(lambda: not any(counter.now), "all is given back")
    assert max(counter.most) <= TOTAL


def _has_successor(process: ServerProcess, killed: int) -> bool:
    if processes_of(process, "engine.supervisor") in ([], [killed]):
        return False
    try:
        return bool(version_of(process)["ready"] == 1)
    except (OSError, EngineError, LookupError):
        return False


def _replaced_by_hup(process: ServerProcess) -> None:
    before = set(process.workers())
    process.signal(signal.SIGHUP)
    wait_for(lambda: len(now := set(process.workers())) == WORKERS and not now & before, "others in their place")


@pytest.mark.timeout(180)
def test_no_server_of_a_cluster_sees_more_connections_than_the_total(tmp_path: Path) -> None:
    with RedisCluster() as cluster:
        check_bounds(cluster.primaries(), cluster.url, tmp_path)
