"""What a served engine writes: one JSON object a line from every process, and nothing in it that a caller made up."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.workloads import WORKLOADS
from tests.conformance import sounds
from tests.conformance.wire import Address, multipart
from tests.serving.servers import ROUTES, address_of, workload_server
from tests.support.server import ServerProcess
from tests.support.wait import wait_for

SETTINGS = {
    "model_pool_size": 1, "model_warmup_requests": 1, "workers": 1, "access_log": "all", "slow_request_ms": 1,
    "status_port": 0,
}  # fmt: skip
OPTIMIZED = ROUTES[0]
FILE = "a-very-private-name{forged}\x1b[2K.wav"


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = Path(tmp_path_factory.mktemp("model"))
    with workload_server(WORKLOADS["tiny"], folder, SETTINGS) as made:
        yield made


@pytest.fixture
def address(process: ServerProcess) -> Address:
    return address_of(process)


def events(process: ServerProcess, request_id: str = "") -> list[dict[str, Any]]:
    """Everything logged so far, or what is of one request."""
    found = [json.loads(line) for line in process.log.splitlines() if line.startswith("{")]
    return [event for event in found if not request_id or event.get("request_id") == request_id]


def access_to(process: ServerProcess, request_id: str) -> dict[str, Any]:
    """The line of an answer, which is written when that is out already."""

    def found() -> dict[str, Any] | None:
        lines = [event for event in events(process, request_id) if event["logger"] == "nightscan.access"]
        return lines[0] if lines else None

    line = wait_for(found, f"the line of {request_id}")
    assert line is not None
    return line


def test_every_line_of_every_process_is_an_event(process: ServerProcess) -> None:
    """But for the few lines that say where to send a recording."""
    lines = [line for line in process.log.splitlines() if not line.startswith("{")]
    assert len(lines) < 12 and not [line for line in lines if "INFO" in line or "WARN" in line], lines
    assert "see it at work" not in process.log, "with status_port=0 there is no page to name"
    found = wait_for(lambda: {event["logger"] for event in events(process)}, "something to be logged")
    assert {"gunicorn.error", "nightscan.server", "engine.supervisor.deployment"} <= found


def test_an_answer_is_logged_with_its_request_and_without_its_file(process: ServerProcess, address: Address) -> None:
    body, content_type = multipart(sounds.wav(sounds.tone(0.5)), FILE, "audio/wav", {})
    path = f"{OPTIMIZED}?api_key=secret"
    assert address.post(path, body, content_type, X_Request_ID="known").status == 200
    assert address.post(OPTIMIZED, b"", "audio/wav", X_Request_ID="empty").status == 400
    known, empty = [access_to(process, request_id) for request_id in ("known", "empty")]
    assert (known["message"], known["level"], known["client"]) == (f"POST {OPTIMIZED} 200", "INFO", "127.0.0.1")
    assert (empty["message"], empty["level"], empty["status"]) == (f"POST {OPTIMIZED} 400", "WARNING", 400)
    assert known["duration_ms"] > 0
    (slow,) = [event for event in events(process, "known") if event["logger"] != "nightscan.access"]
    assert "compute;dur=" in slow["message"] and slow["level"] == "WARNING"
    for word in ("private-name", "forged", "api_key", "secret"):
        assert word not in process.log


def test_what_a_caller_makes_up_is_no_line(process: ServerProcess, address: Address) -> None:
    path = "/nothing%0a{}/\\u001b"
    assert address.get(path).status == 404
    wait_for(lambda: f"GET {path} 404" in [event["message"] for event in events(process)], "the line of the answer")
    made_up = 'two\x0b{"level": "ERROR"}\x85lines'
    answer = address.post(OPTIMIZED, b"", "audio/wav", X_Request_ID=made_up.encode("latin-1").decode("latin-1"))
    assert answer.status == 400
    assert not [event for event in events(process) if event["level"] == "ERROR"]


def test_what_no_application_has_seen_is_logged_as_far_as_it_has_come(process: ServerProcess) -> None:
    for request, told in (
        (b"GET /two?key=secret HTTP/1.1\r\nHost: a\r\nHost: b\r\nX-Request-ID: twice\r\n\r\n", "GET /two 400"),
        (b"GET /long HTTP/1.1\r\nX-Request-ID: long\r\nX: " + b"a" * 80_000 + b"\r\n\r\n", "GET /long 431"),
        (b"\x1b[2K{\r\n\r\n", "- - 400"),
    ):
        with socket.create_connection(("127.0.0.1", process.port), timeout=20) as connection:
            connection.sendall(request)
            status = connection.recv(12)[-3:].decode()
        line = wait_for(lambda: [each for each in events(process) if told in each["message"]], told)[0]
        assert (str(line["status"]), line["client"]) == (status, "127.0.0.1") and "duration_ms" not in line
    assert "secret" not in process.log


def test_errors_alone_are_counted_where_they_are_the_same(tmp_path: Path) -> None:
    with workload_server(WORKLOADS["tiny"], tmp_path, {**SETTINGS, "access_log": "errors"}) as process:
        address = address_of(process)
        for _ in range(20):
            assert address.post(OPTIMIZED, b"", "audio/wav").status == 400
        assert address.get("/health").status == 200
        for k in range(20):  # no requests: not a line for each of their paths
            with socket.create_connection(("127.0.0.1", process.port), timeout=20) as connection:
                connection.sendall(b"GET /%d HTTP/1.1\r\n\r\n" % k)
                assert b" 400 " in connection.recv(1000)
        process.signal(signal.SIGTERM)  # what was counted is told at the end
        wait_for(lambda: process.process.poll() is not None, "the server to leave")
        for told in (f"POST {OPTIMIZED} 400", "GET /0 400"):
            access = [event for event in events(process) if told in event["message"]]
            assert [event.get("repeated") for event in access] == [None, 19], access
