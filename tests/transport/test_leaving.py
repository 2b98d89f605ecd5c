"""How frontends leave: on signals to the master or to its group, by reload, by `max_requests`, and without a master."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.http import Connection, request_bytes
from tests.support.load import load
from tests.support.server import ServerProcess
from tests.support.wait import wait_for
from tests.transport.servers import small_server

SIGNALS = [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT]
LEAVE_S = 15.0  # from the signal until the last process is gone, where others compute too; what hangs takes 30 or 60


@contextmanager
def stuck_clients(server: ServerProcess) -> Iterator[None]:
    """One in half a header, one in half a body, one that says nothing, one idle after an answer."""
    with ExitStack() as stack:
        for start in (b"POST / HTTP/1.1\r\nHo", request_bytes("POST", "/echo", b"x", {"Content-Length": "9"}), b""):
            stack.enter_context(server.connect()).send(start)
        assert stack.enter_context(server.connect()).request("GET", "/").status == 200
        yield


def gone(server: ServerProcess) -> bool:
    return server.process.poll() is not None and not server.processes()


def begun(server: ServerProcess, connection: Connection, path: str) -> None:
    """Sends a request and returns once the application works on it: the next one of the same thread does."""
    connection.send(request_bytes("GET", path))
    assert server.fetch("GET", "/").status == 200


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("group", [False, True], ids=["master", "group"])
def test_a_signal_lets_short_requests_finish_and_everything_end(number: int, group: bool, tmp_path: Path) -> None:
    graceful = small_server(graceful_timeout_s=3)  # below the default, so that a busy machine does not fail this test
    with graceful as server, stuck_clients(server), server.connect() as short, server.connect() as long:
        begun(server, short, f"/until?file={tmp_path}/go")
        begun(server, long, f"/until?file={tmp_path}/never")
        signalled_at = time.monotonic()
        server.signal(number, group=group)
        wait_for(lambda: "Leaving" in server.log, "the frontend drains")
        (tmp_path / "go").touch()
        answered = short.read_response()
        assert (answered.status, answered.closes) == (200, True)
        refused = long.read_response()
        assert (refused.status, refused.closes, refused.json()["code"]) == (503, True, "CLOSING")
        assert refused.headers["retry-after"] == "1"
        wait_for(lambda: gone(server), "every process gone")
        assert time.monotonic() - signalled_at < LEAVE_S
        assert "worker_exit hook ran" in server.log


@pytest.mark.parametrize("number", SIGNALS)
def test_an_idle_server_ends_at_once(number: int) -> None:
    with small_server() as server:
        server.signal(number)
        wait_for(lambda: gone(server), "every process gone", timeout_s=LEAVE_S)
        assert "worker_exit hook ran" in server.log


def test_an_idle_connection_is_read_for_a_while_and_then_closed() -> None:
    with small_server(drain_s=2) as server, server.connect() as late, server.connect() as idle:
        assert late.request("GET", "/").status == idle.request("GET", "/").status == 200
        server.signal(signal.SIGTERM)
        wait_for(lambda: "Leaving" in server.log, "the frontend drains")
        response = late.request("GET", "/")  # it was on its way when the server began to leave
        assert (response.status, response.closes) == (200, True)
        assert idle.read_until_close() == b""


def test_while_leaving_nothing_listens() -> None:
    with small_server() as server, server.connect() as busy:
        begun(server, busy, "/sleep?s=1.5")
        server.signal(signal.SIGTERM)
        wait_for(lambda: refuses(server), "the port closed")
        assert busy.read_response().status == 200


@pytest.mark.parametrize("number", [*SIGNALS, signal.SIGHUP])
def test_a_worker_that_is_signalled_itself_drains_and_is_replaced(number: int, tmp_path: Path) -> None:
    with small_server() as server, server.connect() as connection:
        [worker] = server.workers()
        begun(server, connection, f"/until?file={tmp_path}/go")
        os.kill(worker, number)
        wait_for(lambda: "Leaving" in server.log, "the frontend drains")
        os.kill(worker, number)  # a second one changes nothing
        (tmp_path / "go").touch()
        response = connection.read_response()
        assert (response.status, response.closes) == (200, True)
        wait_for(lambda: [pid for pid in server.workers() if pid != worker], "another worker")
        assert server.fetch("GET", "/").status == 200


def test_a_draining_worker_keeps_its_heartbeat() -> None:
    with small_server("bridged", "--timeout", "2", "--graceful-timeout", "6", graceful_timeout_s=5) as server:
        with server.connect() as connection:
            begun(server, connection, "/sleep?s=3.5")
            server.signal(signal.SIGHUP)  # the master goes on, and kills who is silent for two seconds
            assert connection.read_response().status == 200
        assert "WORKER TIMEOUT" not in server.log


def test_reload_under_load_fails_no_request() -> None:
    with small_server("bridged", "-w", "2") as server, load(server, "/", b"x" * 1000) as answers:
        before = set(server.workers())
        for _ in range(2):
            server.signal(signal.SIGHUP)
            wait_for(lambda: len(set(server.workers()) - before) == 2 == len(server.workers()), "all replaced")
            before = set(server.workers())
            seen = len(answers.statuses)
            wait_for(lambda: len(answers.statuses) > seen + 200, "the load goes on")
        assert answers.failures == []
    assert set(answers.statuses) == {200}


def test_recycling_by_max_requests_under_load_fails_no_request() -> None:
    with small_server("bridged", "--max-requests", "150") as server, load(server, "/", b"x" * 1000) as answers:
        wait_for(lambda: len(answers.bodies) >= 4, "four workers came and went")
        assert answers.failures == []
    assert set(answers.statuses) == {200}
    assert "max_requests" in answers.log


def test_frontends_leave_when_their_master_is_killed(tmp_path: Path) -> None:
    with small_server("bridged", "-w", "2") as server, stuck_clients(server), server.connect() as busy:
        begun(server, busy, f"/until?file={tmp_path}/never")
        killed_at = time.monotonic()
        server.signal(signal.SIGKILL)
        server.process.wait()
        wait_for(lambda: not server.processes(), "the frontends gone")
        assert time.monotonic() - killed_at < 2
        assert refuses(server)
        assert "worker_exit hook ran" in server.log


def test_a_thread_that_hangs_does_not_keep_the_process() -> None:
    with small_server() as server, server.connect() as connection:
        begun(server, connection, "/sleep?s=60")
        server.signal(signal.SIGTERM)
        assert connection.read_response().status == 503
        wait_for(lambda: gone(server), "every process gone", timeout_s=LEAVE_S)


def refuses(server: ServerProcess) -> bool:
    try:
        socket.create_connection(server.address, timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False
