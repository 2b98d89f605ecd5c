"""The servers that are compared: ours through the fast lane, a plain inline app, and each inside a guarded host app."""

from __future__ import annotations

import configparser
import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.counting_site.sitecustomize import FOLDER_VARIABLE, TIMED_VARIABLE
from benchmarks.processes import end_all
from benchmarks.workloads import WORKLOAD_VARIABLE, Workload

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
READY_S = 60.0
TUNED_S = 300.0
_AT_WORK = ("looking", "waiting", "running", "swapping")  # of what statistics say of tuning: it is not over


@dataclass(frozen=True)
class Server:
    """How to start one contender, and where it answers."""

    name: str
    path: str
    command: Callable[[int], list[str]]
    environment: Callable[[Workload, int, str], dict[str, str]]


def _inline_command(port: int, application: str = "benchmarks.inline_app:application") -> list[str]:
    threads = ["-k", "gthread", "-w", "2", "--threads", "8", "--keep-alive", "30"]
    return [str(BIN / "gunicorn"), *threads, "-b", f"127.0.0.1:{port}", "--log-level", "warning", application]


def _inline_environment(workload: Workload, port: int, scratch: str) -> dict[str, str]:
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return {**one_thread, WORKLOAD_VARIABLE: workload.name, "PYTHONPATH": str(ROOT)}


def _engine_environment(workload: Workload, port: int, scratch: str) -> dict[str, str]:
    own = {"PORT": str(port), "RUNTIME_DIR": scratch, "STATE_DIR": f"{scratch}/state"}
    prefixed = {f"NIGHTSCAN_OPTIMIZED_SERVING__{name}": value for name, value in own.items()}
    return {**workload.environment(Path(scratch)), **prefixed, "PYTHONPATH": str(ROOT)}


SERVERS = (
    Server("inline", "/predict", _inline_command, _inline_environment),
    Server(
        "inline, host app",
        "/predict",
        lambda port: _inline_command(port, "benchmarks.inline_host_app:application"),
        _inline_environment,
    ),
    Server("engine", "/api/optimized/predict", lambda port: [str(BIN / "nightscan"), "serve"], _engine_environment),
    Server(
        "engine, host app",
        "/api/optimized/predict",
        lambda port: [str(BIN / "nightscan"), "serve", "benchmarks.host_app:application"],
        _engine_environment,
    ),
)


def engine_with(settings: dict[str, str]) -> Server:
    """`nightscan serve` with these settings, by name in capitals, over the shipped ones."""
    prefixed = {f"NIGHTSCAN_OPTIMIZED_SERVING__{name}": value for name, value in settings.items()}

    def environment(workload: Workload, port: int, scratch: str) -> dict[str, str]:
        return {**_engine_environment(workload, port, scratch), **prefixed}

    return Server("engine", "/api/optimized/predict", lambda port: [str(BIN / "nightscan"), "serve"], environment)


def timed(server: Server, calls: Sequence[str], *, counted_in: Path) -> Server:
    """`server` with these functions (`module:Class.function`) ready to be timed, and what is found in `counted_in`."""

    def environment(workload: Workload, port: int, scratch: str) -> dict[str, str]:
        site = {"PYTHONPATH": f"{ROOT / 'benchmarks' / 'counting_site'}:{ROOT}", FOLDER_VARIABLE: str(counted_in)}
        return {**server.environment(workload, port, scratch), **site, TIMED_VARIABLE: ",".join(calls)}

    return Server(server.name, server.path, server.command, environment)


def engine_of(checkout: Path, *, counted_in: Path) -> Server:
    """`nightscan serve` as `checkout` has it, with counters of ours in it that write to the folder `counted_in`."""
    module, function = _command_of(checkout)
    program = f"import sys; sys.argv[0] = 'nightscan'; from {module} import {function} as main; sys.exit(main())"

    def environment(workload: Workload, port: int, scratch: str) -> dict[str, str]:
        paths = f"{ROOT / 'benchmarks' / 'counting_site'}:{checkout}"
        added = {"PYTHONPATH": paths, FOLDER_VARIABLE: str(counted_in), "PYTHONDONTWRITEBYTECODE": "1"}
        return {**_engine_environment(workload, port, scratch), **added}

    command = [sys.executable, "-c", program, "serve"]
    return Server("engine, counted", "/api/optimized/predict", lambda port: command, environment)


def _command_of(checkout: Path) -> tuple[str, str]:
    """Module and function of `nightscan`."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(checkout / "setup.cfg")
    scripts = settings["options.entry_points"]["console_scripts"]
    target = next(line for line in scripts.splitlines() if line.startswith("nightscan ")).partition("=")[2]
    module, _, function = target.strip().partition(":")
    return module, function


@contextlib.contextmanager
def running(server: Server, workload: Workload, *, tuned: bool = True) -> Iterator[tuple[str, float]]:
    """Starts a server; gives its address and the seconds to its first 200; ends it and all it started.

    `tuned`: not before the server has found the form that it serves from then on; else trials may run meanwhile.
    """
    port = _free_port()
    scratch = tempfile.mkdtemp(prefix="ns-bench-")
    environment = {**os.environ, **server.environment(workload, port, scratch)}
    log = Path(scratch) / "server.log"
    start = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            server.command(port), env=environment, cwd=scratch, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        _wait_for_200(process, port, server.path, workload.bodies[0], log)
        first_200_s = time.monotonic() - start
        if tuned and server.path.startswith("/api/optimized/"):
            wait_tuned(port)
        yield f"http://127.0.0.1:{port}{server.path}", first_200_s
    finally:
        end_all(process)
        shutil.rmtree(scratch, ignore_errors=True)


def wait_tuned(port: int, *, limit_s: float = TUNED_S) -> dict[str, Any]:
    """Until no deployment of the engine behind `port` is being tuned; what its statistics then say of each.

    Nothing of one that tunes none, or knows of no tuning. Raises SystemExit when it takes longer than `limit_s`.
    """
    give_up_at = time.monotonic() + limit_s
    while True:
        found = what_is_tuned(port)
        if _is_over(found):
            return found
        if time.monotonic() > give_up_at:
            raise SystemExit(f"not tuned within {limit_s:.0f} s: {found}")
        time.sleep(0.2)


def is_tuned(port: int) -> bool:
    """Whether no deployment of the engine behind `port` is being tuned just now."""
    return _is_over(what_is_tuned(port))


def port_of(url: str) -> int:
    """Of what `running` gives."""
    return int(url.split(":")[2].partition("/")[0])


def _is_over(found: dict[str, Any]) -> bool:
    return not any(each["state"] in _AT_WORK for each in found.values())


def what_is_tuned(port: int) -> dict[str, Any]:
    """What statistics say of each deployment of the engine behind `port`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_S)
    try:
        connection.request("GET", "/api/optimized/stats")
        answer = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    found: dict[str, Any] = answer.get("tuning", {})
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for_200(process: subprocess.Popen[bytes], port: int, path: str, body: bytes, log: Path) -> None:
    give_up_at = time.monotonic() + READY_S
    last = "nothing listens"
    while time.monotonic() < give_up_at and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_S)
        try:
            connection.request("POST", path, body, {"Content-Type": "audio/wav"})
            answer = connection.getresponse()
            if answer.status == 200:
                return
            last = f"{answer.status} {answer.read(300)!r}"
        except OSError as error:
            last = repr(error)
        finally:
            connection.close()
        time.sleep(0.02)
    raise SystemExit(f"no 200 from {path} on port {port}: {last}\n{log.read_text()[-4000:]}")
