"""Ten thousand answers of every kind, while everything that counts is replaced: each is counted, and once."""

from __future__ import annotations

import dataclasses
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from benchmarks.workloads import WORKLOADS
from engine.client.admin import ask
from engine.config import load_settings, spec_from_settings
from engine.errors import EngineError, NotReady
from engine.observe.metrics import http_counter
from engine.spec import DEFAULT_DEPLOYMENT_ID
from tests.serving.counting_client import Call, CountingClients, Scraper, Series, series_of
from tests.serving.servers import as_environment, processes_of, status_of
from tests.status.asking import Asking
from tests.support.http import ConnectionEnded
from tests.support.server import ServerProcess
from tests.support.wait import wait_for

TINY = WORKLOADS["tiny"]
RECORDING = TINY.bodies[0]
AUDIO = {"Content-Type": "audio/wav"}
QUEUE = 16
BEFORE, FLOOD, REQUESTS = 300, 100, 9600
PREDICT = "/api/optimized/predict"
SETTINGS = {
    "workers": 2, "model_pool_size": 2, "model_warmup_requests": 1, "max_requests": 1500, "journal": "off",
    "request_queue_size": QUEUE, "max_upload_bytes": 1_000_000, "fallback_to_original": "false",
}  # fmt: skip
GOOD = Call(200, "POST", f"{PREDICT}?top_k=2", RECORDING, AUDIO)
BEFORE_A_DEPLOYMENT = Call(503, "POST", PREDICT, RECORDING, AUDIO)
MIX = (
    *(4 * [GOOD]),
    Call(400, "POST", PREDICT, b"", AUDIO),
    Call(415, "POST", PREDICT, b"no sound at all", AUDIO),
    Call(422, "POST", f"{PREDICT}?top_k=none", RECORDING, AUDIO),
    Call(400, "POST", "/api/predict", b"", AUDIO),
    Call(404, "GET", "/nowhere"),
    Call(404, "POST", "/nowhere", b"something"),
    Call(405, "GET", PREDICT),
    Call(200, "GET", "/health"),
    Call(200, "GET", "/api/optimized/health"),
    Call(200, "GET", "/api/optimized/stats"),
)  # fmt: skip
RARE = (
    Call(200, "OPTIONS", PREDICT),
    Call(413, "POST", PREDICT, b"\0" * 1_100_000, AUDIO),
    Call(504, "POST", PREDICT, RECORDING, {**AUDIO, "X-Request-Timeout-Ms": "1"}, or_else=200),
)
OK, REFUSED = http_counter("POST", "optimized", 200), ("POST", "optimized", 429)


@pytest.fixture
def server() -> Iterator[ServerProcess]:
    """Its own model cannot be loaded: it answers 503 until another one is deployed."""
    with tempfile.TemporaryDirectory(prefix="ns-") as folder:
        environment = {**TINY.environment(Path(folder)), **as_environment(SETTINGS)}
        broken = {**environment, **as_environment({"model_factory": "benchmarks.models:no_such_model"})}
        with ServerProcess(["serve"], module="frontend.cli.main", environment=broken, ready="") as server:
            # Frontends listen once that is known; until then, which takes several tries, requests would stand in line.
            wait_for(lambda: is_failed(server), "the broken model to be given up", timeout_s=60)
            server.environment |= environment  # of what is deployed
            yield server


def is_failed(server: ServerProcess) -> bool:
    try:
        return bool(status_of(server)["deployments"][0]["state"] == "failed")
    except NotReady:  # there is no supervisor yet
        return False


def deploy(server: ServerProcess) -> None:
    """The model of the workload; again while a supervisor is missing."""
    found = spec_from_settings(load_settings(server.environment)).to_json()
    order = {"deployment": DEFAULT_DEPLOYMENT_ID, "spec": {**found, "import_paths": [str(Path.cwd())]}, "options": {}}

    def is_done() -> bool:
        try:
            ask(str(server.runtime_dir), "deploy", timeout_s=60, **order)
        except EngineError as error:
            assert error.code in ("PEER_GONE", "NOT_READY"), error
            return False
        return True

    wait_for(is_done, "the version to serve")


def scrapes(server: ServerProcess, clients: CountingClients) -> tuple[Callable[[], str | None], ...]:
    """The texts of the frontends, which count their answers, and of the status server, which counts none."""
    status, call = Asking(server.runtime_dir), Call(200, "GET", "/metrics")

    def frontend() -> str | None:
        response = server.fetch("GET", "/metrics", Connection="close")
        clients.answered(call, response.status)
        return response.body.decode()

    def supervisor() -> str | None:
        try:
            said = status.get("/metrics")
        except (OSError, ConnectionEnded):  # killed just now
            return None
        return said.body.decode() if said.status == 200 else None

    return frontend, supervisor


def flood(server: ServerProcess, clients: CountingClients) -> None:
    """More at once than may wait, while nobody computes: what stands in line is answered in the end."""
    instances = processes_of(server, "engine.instance")
    refused = http_counter("POST", "optimized", 429)
    for pid in instances:
        os.kill(pid, signal.SIGSTOP)
    try:
        many = threading.Thread(
            target=clients.run, args=([dataclasses.replace(GOOD, or_else=429)] * FLOOD,), kwargs={"clients": 3 * QUEUE}
        )
        many.start()
        wait_for(lambda: clients.counted[refused] > QUEUE, "some to be refused")
    finally:
        for pid in instances:
            os.kill(pid, signal.SIGCONT)
    many.join()


def replace_everything(server: ServerProcess, clients: CountingClients) -> None:
    """One after the other, while requests come; each is there again before the next one goes."""
    (supervisor,) = processes_of(server, "engine.supervisor")
    # One that dies while it loads has counted nothing, and nobody follows it in its seat.
    wait_for(lambda: are_ready(status_of(server)["deployments"][0]["versions"][0]), "all instances to be ready")
    os.kill(processes_of(server, "engine.instance")[0], signal.SIGKILL)
    worker = server.workers()[0]
    os.kill(worker, signal.SIGTERM)
    wait_for(lambda: worker not in server.workers() and len(server.workers()) == 2, "another frontend")
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: processes_of(server, "engine.supervisor") not in ([], [supervisor]), "a successor")
    deploy(server)
    # Who sits where the dead one sat has counted the restart by then.
    wait_for(lambda: is_settled(status_of(server)["deployments"][0]["versions"]), "nothing but the new version")


def are_ready(version: dict[str, Any]) -> bool:
    return bool(version["ready"] == len(version["instances"]) == version["pool_size"])


def is_settled(versions: list[dict[str, Any]]) -> bool:
    return len(versions) == 1 and are_ready(versions[0])


def value_of(found: Series, name: str, **labels: str) -> float:
    return found[f"{name}{sorted(labels.items())}"]


def test_ten_thousand_answers_are_counted_once_whatever_is_replaced(server: ServerProcess) -> None:
    clients = CountingClients(server)
    with Scraper(*scrapes(server, clients)) as scraper:
        clients.run([BEFORE_A_DEPLOYMENT] * BEFORE, clients=4)
        deploy(server)
        serves = dataclasses.replace(GOOD, or_else=503)
        while clients.counted[OK] < 2:  # each frontend hears of it by itself
            clients.run(2 * [serves], clients=2)
        flood(server, clients)
        mix = [*islice(cycle(MIX), REQUESTS - 4 * len(RARE)), *(4 * RARE)]
        load = threading.Thread(target=clients.run, args=(mix,), kwargs={"clients": 6})
        load.start()
        replace_everything(server, clients)
        load.join()
    assert clients.wrong == [] and scraper.fell == []
    assert min(scraper.scrapes) > 20 and sum(clients.counted.values()) >= 10_000
    agree(server, clients)


def agree(server: ServerProcess, clients: CountingClients) -> None:
    """The texts of all say what the clients have counted."""
    found = series_of(Asking(server.runtime_dir).get("/metrics").body.decode())
    for name, count in clients.counted.items():
        _, method, endpoint, status = name.split(".")
        route = {"method": method, "endpoint": endpoint}
        assert value_of(found, "nightscan_http_requests_total", **route, status=status) == count, name
    answers = sum(value for name, value in found.items() if name.startswith("nightscan_http_requests_total"))
    durations = sum(value for name, value in found.items() if "http_request_duration_seconds_count" in name)
    assert answers == durations == sum(clients.counted.values())
    predicted = clients.counted[OK]
    assert predicted > 1000 and value_of(found, "nightscan_audio_duration_seconds_count") == predicted
    of = {"deployment": DEFAULT_DEPLOYMENT_ID}
    assert value_of(found, "nightscan_predictions_total", **of, status="success") == predicted
    assert value_of(found, "nightscan_prediction_duration_seconds_count", **of) == predicted
    assert value_of(found, "nightscan_engine_refused_total", **of) == clients.counted[http_counter(*REFUSED)]
    restarts = sum(value for name, value in found.items() if name.startswith("nightscan_engine_instance_restarts"))
    assert restarts == 1
    text = server.fetch("GET", "/metrics", Connection="close").body.decode()
    frontend, supervisor = series_of(text), series_of(Asking(server.runtime_dir).get("/metrics").body.decode())
    differing = {name for name, _ in frontend.items() ^ supervisor.items()}
    own = "('method', 'GET')"  # of the asking itself, which is counted once it is answered
    assert not {name for name in differing if own not in name}
