"""What is counted of stores is the same whichever frontend is asked, and goes on through swap, deaths and reload."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.client.admin import ask
from engine.spec import DEFAULT_DEPLOYMENT_ID
from tests.conformance.conftest import MODEL, SETTING, WAYS
from tests.faults.recordings import Recordings
from tests.serving.servers import processes_of, status_of
from tests.support.server import ServerProcess
from tests.support.wait import wait_for

UPLOADS = 6
SECTIONS = ("connection_pools", "cache", "journal")
COUNTED = ("hits", "misses", "bypassed", "stored", "recorded", "leader")
LOOKUPS = ("l1.hits", "l1.misses", "l1.bypassed")
RECORDINGS = Recordings(repeat_every=0)


@pytest.fixture
def process() -> Iterator[ServerProcess]:
    environment = {**MODEL, f"{SETTING}WORKERS": "2", f"{SETTING}CACHE_L1_MB": "4"}
    with ServerProcess(WAYS["fast lane"], environment=environment, ready="/ready") as process:
        yield process


@contextmanager
def only(process: ServerProcess, worker: int) -> Iterator[None]:
    """Inside, no other frontend takes connections."""
    others = [pid for pid in process.workers() if pid != worker]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)


def upload(process: ServerProcess) -> None:
    """Each recording twice."""
    for _ in range(UPLOADS):
        recording = next(RECORDINGS)
        for _ in range(2):
            answer = process.fetch("POST", "/api/optimized/predict", recording, Content_Type="audio/wav")
            assert answer.status == 200


def await_caches(process: ServerProcess) -> None:
    """A frontend answers before it has its part of the cache."""
    recording = next(RECORDINGS)

    def is_cached() -> bool:
        answer = process.fetch("POST", "/api/optimized/predict", recording, Content_Type="audio/wav")
        return bool(answer.json()["cache_hit"])

    for worker in process.workers():
        with only(process, worker):
            wait_for(is_cached, "this frontend has its cache")


def sections(process: ServerProcess) -> dict[str, Any]:
    found = process.fetch("GET", "/api/optimized/stats").json()
    return {name: found[name] for name in SECTIONS}


def series(process: ServerProcess) -> dict[str, float]:
    """Every series of stores, read as Prometheus reads it."""
    families = text_string_to_metric_families(process.fetch("GET", "/metrics").body.decode())
    words = ("pool", "breaker", "cache", "single_flight", "journal", "fallbacks")
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in families if family.name.startswith(tuple(f"nightscan_engine_{word}" for word in words))
        for sample in family.samples
    }  # fmt: skip


def is_settled(process: ServerProcess) -> bool:
    journal = sections(process)["journal"]
    return bool(journal["stored"] == journal["recorded"] and journal["backlog"] == 0)


def seen(process: ServerProcess) -> tuple[dict[str, Any], dict[str, float]]:
    """The same from each frontend, and, but for the series, from the supervisor."""
    wait_for(lambda: is_settled(process), "the journal is moved")
    found = []
    for worker in process.workers():
        with only(process, worker):
            found.append((sections(process), series(process)))
    assert len(found) == 2 and found[0] == found[1]
    stores = status_of(process)["stores"]
    assert {name: stores[name] for name in SECTIONS} == found[0][0]
    return found[0]


def counters(found: dict[str, Any]) -> dict[str, int]:
    return {
        f"{name}.{what}": value
        for name, section in {**found["cache"], "journal": found["journal"]}.items() if isinstance(section, dict)
        for what, value in section.items() if what in COUNTED and value is not None
    }  # fmt: skip


def test_figures_are_the_same_everywhere_and_no_counter_begins_again(process: ServerProcess) -> None:
    """Of each frontend, the supervisor, Prometheus; over a swap, two deaths and a reload."""
    await_caches(process)
    before, _ = seen(process)
    upload(process)
    found, exported = seen(process)
    counted = {name: value - counters(before)[name] for name, value in counters(found).items()}
    assert counted["journal.recorded"] == counted["journal.stored"] == 2 * UPLOADS
    # The model is so quick that a frontend may find the cache not worth asking.
    assert sum(counted[name] for name in LOOKUPS) == 2 * UPLOADS and counted["l1.stored"] == counted["l1.misses"]
    l1 = found["cache"]["l1"]
    assert l1["entries"] == before["cache"]["l1"]["entries"] + counted["l1.stored"]
    assert exported["nightscan_engine_cache_bytes[]"] == l1["bytes"] > 0
    recorded = found["journal"]["recorded"]
    assert exported["nightscan_engine_journal_records_total[('stage', 'recorded')]"] == recorded
    assert exported["nightscan_engine_cache_lookups_total[('level', 'l1'), ('result', 'hit')]"] == l1["hits"]
    for event in (swap, kill_supervisor, kill_frontend, reload):
        goes_on_counting(process, event)


def swap(process: ServerProcess) -> None:
    deployment = status_of(process)["deployments"][0]
    spec = {**deployment["versions"][0]["spec"], "labels": None}
    runtime_dir = str(process.runtime_dir)
    ask(runtime_dir, "deploy", timeout_s=60, deployment=DEFAULT_DEPLOYMENT_ID, spec=spec, options={})


def kill_supervisor(process: ServerProcess) -> None:
    (before,) = processes_of(process, "engine.supervisor")
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: processes_of(process, "engine.supervisor") not in ([], [before]), "a successor")


def kill_frontend(process: ServerProcess) -> None:
    before = process.workers()
    os.kill(before[0], signal.SIGKILL)
    wait_for(lambda: len(set(process.workers()) - {before[0]}) == 2, "a frontend in its place")


def reload(process: ServerProcess) -> None:
    before = set(process.workers())
    process.signal(signal.SIGHUP)
    wait_for(lambda: len(process.workers()) == 2 and not before & set(process.workers()), "other frontends")


def goes_on_counting(process: ServerProcess, event: Callable[[ServerProcess], None]) -> None:
    before = counters(seen(process)[0])
    event(process)
    wait_for(lambda: process.fetch("GET", "/ready").status == 200, "it serves")
    assert counters(seen(process)[0]) == before
    upload(process)
    after = counters(seen(process)[0])
    assert after["journal.recorded"] == before["journal.recorded"] + 2 * UPLOADS
    assert sum(after[name] - before[name] for name in LOOKUPS) == 2 * UPLOADS
