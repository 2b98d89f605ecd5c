"""`nightscan serve` with a real engine: what runs where, what an operator sees, and how all of it comes and goes."""

from __future__ import annotations

import io
import os
import signal
import struct
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http import request_bytes
from tests.support.load import load
from tests.support.server import ROOT, ServerProcess, has_torch
from tests.support.wait import wait_for
from tests.transport.models import GATE

SETTING = "NIGHTSCAN_OPTIMIZED_SERVING__"
PREDICT = "/api/optimized/predict"
GRACEFUL_S = 2


def engine_server(gate: Path, *arguments: str, **settings: object) -> ServerProcess:
    """`nightscan serve`."""
    chosen = {"model_factory": "tests.transport.models:gated", "model_pool_size": 1, "model_warmup_requests": 1}
    environment = {f"{SETTING}{name.upper()}": str(value) for name, value in {**chosen, **settings}.items()}
    environment[GATE] = str(gate)
    return ServerProcess(["serve", *arguments], module="frontend.cli.main", environment=environment, ready="/ready")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with engine_server(tmp_path_factory.mktemp("gate") / "open", workers=2) as started:
        yield started


def recording(first: int = 0) -> bytes:
    """One second whose first sample is `first`: a loud one waits for the gate."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(struct.pack("<8000h", first, *[1000] * 7999))
    return buffer.getvalue()


def nightscan(server: ServerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTSCAN")}
    environment |= {f"{SETTING}RUNTIME_DIR": str(server.runtime_dir), f"{SETTING}PORT": str(server.port)}
    command = [sys.executable, "-m", "frontend.cli.main", *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_an_answer_names_its_request_and_its_timing(server: ServerProcess) -> None:
    response = server.fetch("POST", PREDICT, recording(), X_Request_ID="night-1")
    assert response.status == 200
    assert response.headers["x-request-id"] == response.json()["request_id"] == "night-1"
    assert "total;dur=" in response.headers["server-timing"]


def test_torch_is_in_the_instances_alone(server: ServerProcess) -> None:
    server.fetch("POST", PREDICT, recording())
    with_torch = {pid for pid in server.processes() if has_torch(pid)}
    instances = {pid for pid, command in server.processes().items() if "engine.instance" in command}
    assert with_torch == instances != set()
    assert len(server.workers()) == 2


def test_the_log_says_where_to_send_and_where_to_look(server: ServerProcess) -> None:
    assert f"curl -F file=@recording.wav http://127.0.0.1:{server.port}/api/optimized/predict" in server.log
    assert "frontend.server.worker.NightScanWorker" in server.log


def test_a_port_in_use_is_refused_by_name(server: ServerProcess) -> None:
    refused = nightscan(server, "serve")
    assert refused.returncode == 1
    assert f"127.0.0.1:{server.port} is in use" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert server.fetch("POST", PREDICT, recording()).status == 200


def test_the_command_line_looks_and_asks(server: ServerProcess, tmp_path: Path) -> None:
    status = nightscan(server, "status")
    assert "wildlife_detector_optimized" in status.stdout and "ready" in status.stdout
    (tmp_path / "night.wav").write_bytes(recording())
    assert "second 0.5" in nightscan(server, "predict", str(tmp_path / "night.wav")).stdout
    unknown = nightscan(server, "undeploy", "nobody")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (4, 1)


def test_reload_under_load_fails_no_request(tmp_path: Path) -> None:
    with engine_server(tmp_path / "open", workers=2) as server, load(server, PREDICT, recording()) as answers:
        before = set(server.workers())
        server.signal(signal.SIGHUP)
        wait_for(lambda: len(server.workers()) == 2 and not before & set(server.workers()), "frontends replaced")
        seen = len(answers.statuses)
        wait_for(lambda: answers.failures or len(answers.statuses) > seen + 100, "the load goes on")
    assert (answers.failures, set(answers.statuses)) == ([], {200})


def test_recycling_by_max_requests_under_load_fails_no_request(tmp_path: Path) -> None:
    with engine_server(tmp_path / "open", workers=2, max_requests=100) as server:
        before = set(server.workers())
        with load(server, PREDICT, recording()) as answers:
            wait_for(lambda: answers.failures or not before & set(server.workers()), "frontends replaced")
            seen = len(answers.statuses)
            wait_for(lambda: answers.failures or len(answers.statuses) > seen + 100, "the load goes on")
    assert (answers.failures, set(answers.statuses)) == ([], {200})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
@pytest.mark.parametrize("group", [False, True], ids=["master", "group"])
def test_leaving_answers_who_can_be_answered_and_ends_the_engine(number: int, group: bool, tmp_path: Path) -> None:
    gate = tmp_path / "open"
    with engine_server(gate, graceful_timeout_s=GRACEFUL_S) as server, server.connect() as waiting:
        waiting.send(request_bytes("POST", PREDICT, recording(30_000)))
        assert server.fetch("GET", "/health").status == 200
        server.signal(number, group=group)
        wait_for(lambda: "Leaving" in server.log, "the frontend drains")
        gate.touch()
        response = waiting.read_response()
        assert (response.status, response.closes) == (200, True)
        wait_for(lambda: server.process.poll() is not None and not server.processes(), "every process gone")


def test_who_cannot_be_answered_in_time_is_told_so(tmp_path: Path) -> None:
    gate = tmp_path / "open"
    with engine_server(gate, graceful_timeout_s=GRACEFUL_S) as server, server.connect() as waiting:
        waiting.send(request_bytes("POST", PREDICT, recording(30_000)))
        assert server.fetch("GET", "/health").status == 200
        signalled_at = time.monotonic()
        server.signal(signal.SIGTERM)
        assert waiting.read_response().status == 503
        assert time.monotonic() - signalled_at >= GRACEFUL_S
        gate.touch()
        wait_for(lambda: not server.processes(), "every process gone")


def test_a_killed_master_takes_everything_along(tmp_path: Path) -> None:
    with engine_server(tmp_path / "open") as server:
        server.signal(signal.SIGKILL)
        server.process.wait()
        wait_for(lambda: not server.processes(), "frontends, keeper, supervisor and instances gone")


def test_with_the_lane_off_threads_serve(tmp_path: Path) -> None:
    with engine_server(tmp_path / "open", fast_lane="off") as server:
        assert "Using worker: gthread" in server.log
        assert server.fetch("POST", PREDICT, recording()).status == 200


def test_a_host_with_a_guard_is_served_on_the_lane(tmp_path: Path) -> None:
    with engine_server(tmp_path / "open", "tests.transport.guarded_host:application") as server:
        assert "frontend.server.worker.NightScanWorker" in server.log
        assert server.fetch("POST", PREDICT, recording()).status == 401
        assert server.fetch("POST", PREDICT, recording(), X_Pass="1").status == 200
        assert server.fetch("GET", "/own").body == b"the host's own page"


def test_a_host_that_is_not_the_lanes_is_served_by_threads_behind_its_guard(tmp_path: Path) -> None:
    with engine_server(tmp_path / "open", "tests.transport.guarded_host:app") as server:
        assert "Using worker: gthread" in server.log
        assert server.fetch("GET", "/own").body == b"the host's own page"
        assert server.fetch("POST", PREDICT, recording()).status == 401
        assert server.fetch("POST", PREDICT, recording(), X_Pass="1").status == 200
