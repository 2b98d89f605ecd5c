"""Counters go on over swaps, deaths and failures: what a client reads never falls, and nothing is lost."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from engine.client import EngineClient
from engine.config import Settings
from engine.errors import EngineError
from engine.observe.exposition import exposition
from engine.observe.histograms import LATENCY
from engine.observe.stats import optimization_stats
from engine.spec import DEFAULT_DEPLOYMENT_ID
from tests.supervisor.engine_process import (
    ANSWER_S,
    EngineProcess,
    ask,
    deploy,
    ready_pids,
    refused,
    serving,
    spec,
    status,
    tell,
    told,
    wait_serving,
)
from tests.supervisor.load import Load
from tests.support.wait import wait_for


class Watch:
    """Reads all counters again and again, inside `with`; none of them may ever fall."""

    def __init__(self, *clients: EngineClient) -> None:
        self._clients = clients
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")
        self.fell: list[str] = []
        self.looks = 0

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        assert not self.fell, self.fell[:5]

    def _run(self) -> None:
        before: dict[EngineClient, dict[str, float]] = {client: {} for client in self._clients}
        while not self._over.wait(0.002):
            for client in self._clients:
                now = counters(client)
                seen = {name: (old, now.get(name, -1.0)) for name, old in before[client].items()}
                fell = {name: (old, new) for name, (old, new) in seen.items() if new < old}
                self.fell += [f"{name}: {old} -> {new}" for name, (old, new) in fell.items()]
                before[client] = now
            self.looks += 1


def counters(client: EngineClient) -> dict[str, float]:
    """All samples that are exported of counters and histograms."""
    lines = exposition(client, Settings(), None).decode().splitlines()
    gauges = {line.split()[2] for line in lines if line.startswith("# TYPE") and line.endswith(" gauge")}
    found: dict[str, float] = {}
    for line in lines:
        name, _, value = line.rpartition(" ")
        if not line.startswith("#") and name.partition("{")[0] not in gauges:
            found[name] = float(value)
    assert gauges and found
    return found


def succeeded(client: EngineClient) -> int:
    return client.counters(DEFAULT_DEPLOYMENT_ID).lane_totals["succeeded"]


def test_counters_go_on_over_swaps_a_dead_frontend_and_a_dead_supervisor(engine: EngineProcess) -> None:
    with engine.client() as client, engine.client() as other, engine.frontend() as frontend:
        wait_serving(client)
        tell(frontend, "ask 7")
        assert told(frontend).split()[2] == "7.0"
        with Watch(client, other) as watch, Load(client, 2) as load, Load(other, 2) as more:
            deploy(client, "slow")
            frontend.send_signal(signal.SIGKILL)
            deploy(client, "echo")
            os.kill(ready_pids(client, serving(client)["pool_size"])[0], signal.SIGKILL)
            swap = threading.Thread(target=_try_deploy, args=(client,))
            swap.start()
            load.wait_answered(20)
            engine.kill_supervisor()
            swap.join()
            load.wait_answered(20)
            engine.start()
            wait_for(lambda: serving(client) != {}, "the successor")
            deploy(client, "echo")
            load.wait_answered(20)
            wait_for(lambda: len(status(client)["versions"]) == 1, "the old versions to be gone")
        assert watch.looks > 20
        answered = load.answered + more.answered + 1
        assert succeeded(client) == answered
        buckets = client.counters(DEFAULT_DEPLOYMENT_ID).lane_totals
        assert sum(buckets[name] for name in LATENCY.buckets) == answered
        with engine.client() as newcomer:
            assert succeeded(newcomer) == answered
            shown = optimization_stats(newcomer, engine.settings, None)["performance_metrics"][DEFAULT_DEPLOYMENT_ID]
            assert shown["total_requests"] == answered


def test_what_was_counted_before_a_failure_or_an_undeploy_is_not_lost(runtime_dir: Path) -> None:
    """The first version fails after it had a segment, the next one serves, is taken out, and one of its id follows."""
    with EngineProcess(runtime_dir, behaviour="fail_warmup") as engine, engine.client() as client:
        wait_for(lambda: client.state(DEFAULT_DEPLOYMENT_ID) == "failed", "the first version to fail")
        client.count("cache_misses", 3)
        with Watch(client):
            deploy(client, "echo")
            assert ask(client, 1.0)[2] == 1.0
            client.request("undeploy", timeout_s=ANSWER_S, deployment=DEFAULT_DEPLOYMENT_ID)
            client.count("cache_misses", 2)
            order = {"deployment": DEFAULT_DEPLOYMENT_ID, "spec": spec("fail_warmup"), "options": {}}
            refused(client, "deploy", **order)
            deploy(client, "echo")
            assert ask(client, 2.0)[2] == 2.0
            client.count("cache_misses")
        with engine.client() as newcomer:
            wait_serving(newcomer)
            totals = newcomer.counters(DEFAULT_DEPLOYMENT_ID).lane_totals
            assert (totals["cache_misses"], totals["succeeded"]) == (6, 2)


def _try_deploy(client: EngineClient) -> None:
    try:
        deploy(client, "echo")
    except EngineError as error:
        assert error.code in ("PEER_GONE", "NOT_READY"), error
