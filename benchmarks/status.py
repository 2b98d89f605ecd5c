"""How fast the status server answers while everything else is busy, and what the supervisor's memory is meanwhile.

    python -m benchmarks.status [--seconds 60] [--workload resnet] [--concurrency 32]

Two instances are saturated; one of them is stopped (SIGSTOP) after a sixth of the time, and a deploy is ordered over
HTTP after a third. Eight programs listen to events, a hundred connections say nothing. Every figure is the time from
connecting to the last byte of the answer, as a client sees it on the same machine; `--kept` asks on one connection.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.generator import Load
from benchmarks.load import load
from benchmarks.processes import adopt_orphans, pss_mb
from benchmarks.servers import engine_with, running
from benchmarks.workloads import WORKLOADS, Workload
from engine.spec import DEFAULT_DEPLOYMENT_ID

SILENT = 100
STREAMS = 8
PATHS = ("/healthz", "/status", "/metrics")
_EVERY_S = 0.05  # twenty rounds a second: what a page and a few scrapers ask, many times over


def main() -> None:
    """Prints the figures, and what went wrong on the way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--workload", choices=sorted(WORKLOADS), default="resnet")
    parser.add_argument("--kept", action="store_true", help="ask on one connection that is kept")
    options = parser.parse_args()
    adopt_orphans()
    port = _free_port()
    server = engine_with({"STATUS_PORT": str(port), "MODEL_POOL_SIZE": "2", "TUNING": "off", "CACHE_L1_MB": "0"})
    workload = WORKLOADS[options.workload]
    with running(server, workload, tuned=False) as (url, _):
        _report(_Run(port, url, workload, options).measure())


class _Run:
    """One measurement."""

    def __init__(self, port: int, url: str, workload: Workload, options: argparse.Namespace) -> None:
        self._port = port
        self._url = url
        self._status: dict[str, Any] = {}
        self._supervisor = 0
        self._workload = workload
        self._options = options
        self._kept: http.client.HTTPConnection | None = None
        self.figures: dict[str, list[float]] = {path: [] for path in PATHS}
        self.errors: list[str] = []
        self.pss_mb = 0.0
        self.events = [0] * STREAMS

    def measure(self) -> _Run:
        self._status = json.loads(self._ask("/status"))
        self._supervisor = int(self._status["supervisor"]["pid"])
        with contextlib.ExitStack() as stack:
            for _ in range(SILENT):
                stack.enter_context(socket.create_connection(("127.0.0.1", self._port)))
            for number in range(STREAMS):
                stack.enter_context(self._listening(number))
            stack.enter_context(self._loading())
            self._ask_all(stack)
        return self

    def _ask_all(self, stack: contextlib.ExitStack) -> None:
        begin, seconds = time.monotonic(), self._options.seconds
        faults: list[tuple[float, Callable[[], None]]] = [
            (seconds / 6, lambda: self._stop_one(stack)),
            (seconds / 3, self._deploy),
        ]
        while (now_s := time.monotonic() - begin) < seconds:
            if faults and now_s >= faults[0][0]:
                faults.pop(0)[1]()
            for path in PATHS:
                self._time(path)
            self.pss_mb = max(self.pss_mb, pss_mb([self._supervisor]))
            time.sleep(_EVERY_S)

    def _time(self, path: str) -> None:
        begin = time.perf_counter()
        try:
            self._ask(path)
        except (OSError, http.client.HTTPException) as error:
            self.errors.append(f"{path}: {error!r}")
        self.figures[path].append(1e3 * (time.perf_counter() - begin))

    def _ask(self, path: str) -> bytes:
        connection = self._kept or http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        if self._options.kept:
            self._kept = connection
        connection.request("GET", path)
        answer = connection.getresponse()
        body: bytes = answer.read()
        if not self._options.kept:
            connection.close()
        if answer.status != 200:
            raise http.client.HTTPException(f"{answer.status} {body[:200]!r}")
        return body

    def _stop_one(self, stack: contextlib.ExitStack) -> None:
        instances = self._status["deployments"][0]["versions"][0]["instances"]
        os.kill(instances[0]["pid"], signal.SIGSTOP)
        stack.callback(_continue, instances[0]["pid"])

    def _deploy(self) -> None:
        threading.Thread(target=self._order_deploy, daemon=True).start()

    def _order_deploy(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        headers = {"Authorization": f"Bearer {self._token()}", "Content-Type": "application/json"}
        connection.request("POST", "/deploy", json.dumps({"deployment": DEFAULT_DEPLOYMENT_ID}), headers)
        answer = connection.getresponse()
        print(f"deploy: {answer.status} {answer.read().decode().strip()}")
        connection.close()

    def _token(self) -> str:
        environment = Path(f"/proc/{self._supervisor}/environ").read_bytes().split(b"\0")
        variables = dict(each.decode().split("=", 1) for each in environment if b"=" in each)
        folder = variables["NIGHTSCAN_OPTIMIZED_SERVING__RUNTIME_DIR"]
        return (Path(folder) / "admin.token").read_text().strip()

    @contextlib.contextmanager
    def _listening(self, number: int) -> Iterator[None]:
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=10)
        connection.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        thread = threading.Thread(target=self._hear, args=(connection, number))
        thread.start()
        try:
            yield
        finally:
            connection.shutdown(socket.SHUT_RDWR)
            thread.join()
            connection.close()

    def _hear(self, connection: socket.socket, number: int) -> None:
        while piece := connection.recv(1 << 16):
            self.events[number] += piece.count(b"event: ")

    @contextlib.contextmanager
    def _loading(self) -> Iterator[None]:
        seconds, concurrency = self._options.seconds, self._options.concurrency
        found: list[Load] = []
        with tempfile.TemporaryDirectory(prefix="ns-bodies-") as folder:
            bodies = [Path(folder) / f"{number}.wav" for number in range(len(self._workload.bodies))]
            for file, body in zip(bodies, self._workload.bodies, strict=True):
                file.write_bytes(body)
            thread = threading.Thread(
                target=lambda: found.append(load(self._url, bodies, concurrency=concurrency, seconds=seconds))
            )
            thread.start()
            yield
            thread.join()
        print(f"load: {found[0].answers / found[0].duration_s:.1f} answers/s, errors {found[0].errors}")


def _report(run: _Run) -> None:
    for path, figures in run.figures.items():
        ordered = sorted(figures)
        p50, p99 = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.99))
        print(f"{path:10} {len(ordered):6} asked   p50 {p50:7.2f} ms   p99 {p99:7.2f} ms   max {ordered[-1]:7.2f} ms")
    print(f"supervisor: {run.pss_mb:.1f} MB PSS at most; events heard: {min(run.events)} to {max(run.events)}")
    print(f"errors: {len(run.errors)} {run.errors[:5]}")


def _continue(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
