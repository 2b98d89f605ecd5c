"""A host's process and its engine: while that starts, and after the process has forked. One real engine for all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import flask
import pytest

from engine.client import EngineClient
from engine.client.admin import ask
from engine.launch import stop_keeper
from frontend.attach import current_client, detach
from frontend.attach_wait import AttachWait
from frontend.cli.view import status_view
from frontend.wsgi.host_settings import settings_of
from frontend.wsgi.integration import register_optimized_endpoints
from tests.conformance import sounds
from tests.support.wait import wait_for
from tests.transport.models import GATE

THREADS = 4  # of the host's server
PREDICT = "/api/optimized/predict"


@pytest.fixture(scope="module")
def host() -> Iterator[flask.Flask]:
    """An application whose engine is told by `app.config` alone, and starts no further than `open_gate` lets it."""
    folder = Path(tempfile.mkdtemp(prefix="ns-", dir="/tmp"))
    os.environ[GATE] = str(folder / "gate")
    app = flask.Flask("host")
    app.config.update(
        NIGHTSCAN_RUNTIME_DIR=str(folder / "run"),
        NIGHTSCAN_MODEL_FACTORY="tests.transport.models:gated_at_start",
        NIGHTSCAN_MODEL_POOL_SIZE=1,
        NIGHTSCAN_WORKERS=1,
        NIGHTSCAN_MODEL_WARMUP_REQUESTS=1,
    )
    app.add_url_rule("/own", "own", lambda: "the host's own page")
    register_optimized_endpoints(app)
    yield app
    detach()
    assert stop_keeper(folder / "run", 15)
    shutil.rmtree(folder)
    del os.environ[GATE]


@pytest.fixture
def engine(host: flask.Flask) -> Iterator[Any]:
    """The client of an engine that serves; no test leaves it with fewer lanes."""
    open_gate()
    settings = settings_of(host)
    wait_for(lambda: post(host).status_code == 200, "the engine serves", timeout_s=60)
    client = current_client(settings)
    assert client is not None
    before = lanes(client)
    yield client
    wait_for(lambda: lanes(client) == before, "the lanes are as they were")
    detach()


def open_gate() -> None:
    Path(os.environ[GATE]).touch()


def post(app: flask.Flask) -> Any:
    """In this thread, as a server with several threads calls the application."""
    many = {"wsgi.multithread": True}
    return app.test_client().post(PREDICT, data=sounds.ONE_SECOND, content_type="audio/wav", environ_overrides=many)


def lanes(client: Any) -> Any:
    [deployment] = client.request("status", timeout_s=20)["deployments"]
    return deployment["versions"][0]["lanes"]


def in_a_child(work: Callable[[], bool]) -> bool:
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_while_the_engine_starts_one_request_waits_and_the_hosts_own_pages_go_on(host: flask.Flask) -> None:
    with ThreadPoolExecutor(THREADS) as server:
        predictions = [server.submit(post, host) for _ in range(THREADS)]
        page: Future[Any] = server.submit(lambda: host.test_client().get("/own").text)
        waiting: set[Future[Any]] = set(predictions)
        refused = []
        while len(waiting) > 1:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            refused += [each.result() for each in done]
        assert page.result() == "the host's own page"
        assert [(answer.status_code, answer.headers["Retry-After"]) for answer in refused] == [(503, "1")] * 3
        assert not any(each.done() for each in waiting), "one waits for the engine"
        open_gate()
    wait_for(lambda: post(host).status_code == 200, "the engine serves", timeout_s=60)
    detach()


def test_a_process_that_waits_for_a_lane_is_told_so_and_gets_the_next_one(
    host: flask.Flask, engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(host)

    def attach(wait: Callable[[], None] | None = None) -> EngineClient:
        return EngineClient.attach(runtime_dir=settings.runtime_dir, wait_s=30, settings=settings, on_wait=wait)

    with ThreadPoolExecutor(1) as pool:
        taken = [attach() for _ in range(lanes(engine)["free"])]
        late = pool.submit(attach, AttachWait(settings.runtime_dir, every_s=0))
        wait_for(lambda: "lanes of wildlife_detector_optimized are taken and 1 more wait" in caplog.text, "it says so")
        assert "lanes of wildlife" in status_view(ask(settings.runtime_dir, "status", timeout_s=10))
        assert not late.done()
        taken.pop().close()
        for client in [late.result(), *taken]:
            client.close()


def test_a_forked_child_serves_by_a_client_of_its_own(host: flask.Flask, engine: Any) -> None:
    def serve() -> bool:
        wait_for(lambda: post(host).status_code == 200, "the child serves", timeout_s=30)
        return current_client(settings_of(host)) is not engine

    assert in_a_child(serve)
    assert post(host).status_code == 200 and current_client(settings_of(host)) is engine


def test_a_child_that_exits_or_detaches_leaves_its_parent_the_lane(host: flask.Flask, engine: Any) -> None:
    def leave() -> bool:
        current_client(settings_of(host), wait_s=5.0)
        detach()
        return True

    assert in_a_child(lambda: True) and in_a_child(leave)
    for _ in range(3):
        assert post(host).status_code == 200
    assert current_client(settings_of(host)) is engine


def test_a_child_that_outlives_its_parents_requests_holds_up_nobody(host: flask.Flask, engine: Any) -> None:
    """What a child has inherited of the parent's lane must not be a lock that nobody gives back."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)  # until the parent closes its end
        os._exit(0)
    os.close(reader)
    try:
        assert [post(host).status_code for _ in range(20)] == [200] * 20
    finally:
        os.close(writer)
        os.waitpid(pid, 0)
