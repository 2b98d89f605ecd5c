"""Settings of queue, deadline, threads and switches, on servers whose model works until the test lets it go."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.conformance import sounds
from tests.conformance.test_probes import series
from tests.conformance.wire import Address, Answer
from tests.serving.models import runs_in, watched
from tests.serving.servers import ROUTES, address_of, as_environment, server, version_of
from tests.support.server import ServerProcess, free_port
from tests.support.wait import wait_for

OPTIMIZED, LEGACY = ROUTES
MODEL = {
    "model_factory": "tests.serving.models:noted", "sample_rate_hz": 8000, "segment_s": 0.5, "model_warmup_requests": 0,
}  # fmt: skip
NARROW = {
    **MODEL, "model_pool_size": 3, "enable_model_pooling": "false", "max_batch_size": 4,
    "enable_batch_processing": "false", "request_queue_size": 2, "request_timeout_ms": 700, "instance_threads": 2,
}  # fmt: skip
THREADED = {**MODEL, "model_pool_size": 1, "enable_async_inference": "false", "worker_threads": 2}
CONTENT = sounds.wav(sounds.tone(0.5))
LONG = {"X_Request_Timeout_Ms": "30000"}


@dataclass(frozen=True)
class Held:
    """A server whose model can be held."""

    process: ServerProcess
    address: Address
    folder: Path

    @contextmanager
    def holding(self) -> Iterator[ThreadPoolExecutor]:
        """Within, no run of the model ends. Gives threads to send requests from; all have answered afterwards."""
        with ThreadPoolExecutor(8) as senders, ExitStack() as stack:
            (self.folder / "hold").touch()
            stack.callback((self.folder / "hold").unlink)
            yield senders

    def send(self, senders: ThreadPoolExecutor, route: str = OPTIMIZED) -> Future[Answer]:
        return senders.submit(self.address.post, route, CONTENT, "audio/wav", **LONG)

    def slots(self, *states: str) -> int:
        counts = version_of(self.process)["slots"]
        return sum(int(counts[state]) for state in states)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    """One instance, one item at a time, two may wait, and not for long."""
    folder = tmp_path_factory.mktemp("narrow")
    with server(NARROW, **watched(folder)) as process:
        yield Held(process, address_of(process), folder)


def test_without_pooling_there_is_one_instance(narrow: Held) -> None:
    version = version_of(narrow.process)
    assert version["pool_size"] == version["ready"] == len(version["instances"]) == 1
    assert len({run.pid for run in runs_in(narrow.folder / "notes")}) == 1


def test_computing_threads_of_an_instance(narrow: Held) -> None:
    assert {run.torch_threads for run in runs_in(narrow.folder / "notes")} == {2}


def test_beyond_the_bound_nobody_waits(narrow: Held) -> None:
    with narrow.holding() as senders:
        futures = [narrow.send(senders)]
        wait_for(lambda: narrow.slots("leased") == 1, "one works")
        futures += [narrow.send(senders, route) for route in ROUTES]
        wait_for(lambda: series(narrow.address, "nightscan_ml_queue_length.*") == 2, "two wait")
        refused = [narrow.address.post(route, CONTENT, "audio/wav", **LONG) for route in ROUTES]
    assert [answer.status for answer in refused] == [429, 429]
    assert refused[0].value["code"] == "QUEUE_FULL"
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    answers = [future.result() for future in futures]
    assert [answer.status for answer in answers] == [200, 200, 200]


def test_without_batches_items_are_computed_one_by_one(narrow: Held) -> None:
    with narrow.holding() as senders:
        futures = [narrow.send(senders)]
        wait_for(lambda: narrow.slots("leased") == 1, "one works")
        futures += [narrow.send(senders), narrow.send(senders)]
        wait_for(lambda: narrow.slots("ready") == 2, "two wait together")
        before = len(runs_in(narrow.folder / "notes"))
    assert [future.result().value["batch_size"] for future in futures] == [1, 1, 1]
    assert [run.batch_size for run in runs_in(narrow.folder / "notes")[before:]] == [1, 1]


def test_a_request_that_names_no_deadline_has_the_default_one(narrow: Held) -> None:
    with narrow.holding() as senders:
        for route in ROUTES:
            assert narrow.address.post(route, CONTENT, "audio/wav").pair[0] == 504
        patient = narrow.send(senders)
    assert patient.result().status == 200


@pytest.fixture(scope="module")
def threaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Held]:
    """`nightscan serve` with the fast lane off and two threads, on another address than the usual one."""
    folder = tmp_path_factory.mktemp("threaded")
    port = free_port()
    settings = {**THREADED, "bind_host": "127.0.0.2", "port": port}
    environment = {**as_environment(settings), **watched(folder)}
    process = ServerProcess(["serve"], module="frontend.cli.main", environment=environment, ready="/ready", port=port)
    process.address = ("127.0.0.2", port)
    with process:
        yield Held(process, Address(port, "127.0.0.2"), folder)


def test_the_address_it_listens_on(threaded: Held) -> None:
    listening = {
        (each.laddr.ip, each.laddr.port)
        for pid in threaded.process.processes()
        for each in psutil.Process(pid).net_connections("tcp")
        if each.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.2", threaded.address.port)}


def test_with_the_lane_off_threads_answer_every_route(threaded: Held) -> None:
    assert "Using worker: gthread" in threaded.process.log
    for route in ROUTES:
        assert threaded.address.upload(route, CONTENT).status == 200


def test_no_more_requests_are_worked_on_than_there_are_threads(threaded: Held) -> None:
    with threaded.holding() as senders:
        futures = [threaded.send(senders, route) for route in ROUTES * 3]
        wait_for(lambda: threaded.slots("leased", "ready") == 2, "both threads wait for the model")
        seen = {threaded.slots("writing", "ready", "leased", "replied") for _ in range(20)}
        assert seen == {2}
    assert [future.result().status for future in futures] == [200] * 6
