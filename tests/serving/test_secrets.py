"""What is secret stays with the processes that need it, and stands in nothing that anybody reads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.client.admin import ask
from frontend.cli.view import status_view
from tests.conformance import sounds
from tests.serving.servers import ROUTES, SETTING, address_of, processes_of, server, status_of
from tests.support.server import ROOT, ServerProcess, free_port
from tests.support.wait import wait_for

SECRET = "hunter2"
READ = ("/health", "/ready", "/metrics", "/api/optimized/health", "/api/optimized/stats")


@pytest.fixture(scope="module")
def told() -> Iterator[ServerProcess]:
    """A server whose stores are all away, each with a password in its address."""
    addresses = {
        "redis_url": f"redis://:{SECRET}@127.0.0.1:{free_port()}/0",
        "database_url": f"postgresql://app:{SECRET}@127.0.0.1:{free_port()}/app?application_name={SECRET}",
        "original_api_url": f"http://app:{SECRET}@127.0.0.1:{free_port()}/api?key={SECRET}",
        "otel_endpoint": f"http://app:{SECRET}@127.0.0.1:{free_port()}/otel?key={SECRET}",
    }
    others = {"REDIS_URL": addresses["redis_url"], "DATABASE_URL": addresses["database_url"]}
    others |= {"OTEL_EXPORTER_OTLP_HEADERS": f"api-key={SECRET}", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    with server({**addresses, "model_pool_size": 1}, **others) as process:
        yield process


def test_an_original_api_that_is_away_is_told_without_its_secrets() -> None:
    away = f"http://app:{SECRET}@127.0.0.1:{free_port()}/api?key={SECRET}"
    with server({"enabled": "false", "original_api_url": away}, ready="/health") as process:
        answer = address_of(process).upload(ROUTES[1], sounds.ONE_SECOND)
        assert answer.status == 503 and SECRET not in answer.body.decode()
        for path in READ:
            assert SECRET not in address_of(process).get(path).body.decode(), path
        assert SECRET not in process.log


def test_an_instance_is_given_no_secret(told: ServerProcess) -> None:
    (pid,) = processes_of(told, "engine.instance")
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert any(variable.startswith(SETTING.encode()) for variable in variables), "it has the other settings"
    assert not [variable for variable in variables if SECRET.encode() in variable]
    names = {variable.partition(b"=")[0].decode() for variable in variables}
    assert not names & {"REDIS_URL", "DATABASE_URL", f"{SETTING}REDIS_URL", f"{SETTING}DATABASE_URL"}
    assert b"ORT_DISABLE_TELEMETRY=1" in variables, "and no library of a model tells its makers"


def test_nothing_that_is_answered_or_logged_holds_a_secret(told: ServerProcess) -> None:
    address = address_of(told)
    for route in ROUTES:
        assert address.upload(route, sounds.ONE_SECOND).status == 200
    for path in READ:
        assert SECRET not in address.get(path).body.decode(), path
    status = status_of(told)
    assert SECRET not in json.dumps(status) + status_view(status)
    assert "OTEL_EXPORTER_OTLP_PROTOCOL (environment): ignored" in status_view(status)
    wait_for(lambda: "the collector of traces (otel_endpoint) does not take them" in told.log, "it is said")
    assert SECRET not in told.log


def test_what_the_command_line_shows_holds_no_secret(told: ServerProcess) -> None:
    environment = {**told.environment, "PYTHONPATH": str(ROOT)}
    for arguments in (["config"], ["status"], ["status", "--json"]):
        command = [sys.executable, "-m", "frontend.cli.main", *arguments]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert ended.returncode == (0 if "config" in arguments else 1), ended.stderr  # degraded: all stores are away
        assert SECRET not in ended.stdout + ended.stderr
        assert "127.0.0.1" in ended.stdout or "config" not in arguments


def test_the_supervisor_does_not_write_it_down(told: ServerProcess) -> None:
    assert ask(str(told.runtime_dir), "status", timeout_s=10)["deployments"]
    for path in told.runtime_dir.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path
