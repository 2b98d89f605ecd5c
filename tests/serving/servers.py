"""Real servers with settings, and looks at what came of them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.workloads import Workload
from engine.client.admin import ask
from tests.conformance.wire import Address, Answer
from tests.support.server import ServerProcess

SETTING = "NIGHTSCAN_OPTIMIZED_SERVING__"
GUNICORN = ("-c", "python:frontend.server.gunicorn_config", "frontend.app:served_app()")
ROUTES = ("/api/optimized/predict", "/api/predict")
Row = tuple[str, float]  # label, probability


def as_environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Settings by their names -> the variables that set them."""
    return {f"{SETTING}{name.upper()}": str(value) for name, value in settings.items()}


def server(settings: Mapping[str, object], *, ready: str = "/ready", **others: str) -> ServerProcess:
    """Our own application by `gunicorn -c`; `others` are further environment variables."""
    return ServerProcess(GUNICORN, environment={**as_environment(settings), **others}, ready=ready)


def workload_server(workload: Workload, folder: Path, settings: Mapping[str, object]) -> ServerProcess:
    """A benchmark's model behind our application, with further settings; `folder` must outlive the server."""
    environment = {**workload.environment(folder), **as_environment(settings)}
    return ServerProcess(GUNICORN, environment=environment, ready="/ready")


def address_of(process: ServerProcess) -> Address:
    return Address(process.port)


def rows_of(answer: Answer) -> list[Row]:
    """The predictions of a one-window answer of either route, best first."""
    assert answer.status == 200, answer.body
    value = answer.value
    rows = value["top_predictions"] if isinstance(value, dict) else value[0]["predictions"]
    return [(row["label"], row["probability"]) for row in rows]


def status_of(process: ServerProcess) -> dict[str, Any]:
    """What the supervisor says about everything."""
    return ask(str(process.runtime_dir), "status", timeout_s=10)


def version_of(process: ServerProcess) -> dict[str, Any]:
    """What the supervisor says about the newest version of the default deployment."""
    found: dict[str, Any] = status_of(process)["deployments"][0]["versions"][0]
    return found


def processes_of(process: ServerProcess, module: str) -> list[int]:
    """Pids of the server's processes that run `python -m module`."""
    return [pid for pid, command in process.processes().items() if f"-m {module} " in f"{command} "]


def run_to_its_end(command: list[str], environment: Mapping[str, str], directory: Path) -> tuple[int, str]:
    """Exit code and standard error of a command that is expected to stop by itself."""
    ended = subprocess.run(
        command, env=dict(environment), cwd=directory, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    return ended.returncode, ended.stderr.decode()
