"""What crowds of uploads leave in a frontend's memory, and how much they take of it while they last.

    python -m benchmarks.inflight [--uploads 200] [--at-once 50]

One frontend without garbage collector. First uploads of 50 MB that are given up half-way, then as many whole ones with
a deadline that cannot be met: the memory must be back within 10 MB. Then many of 100 MB at the same time, at the
model's own rate and at others that are resampled: the memory must stay under `max_inflight_bytes` + 64 MB, and every
one be answered. Memory is what the frontend has for itself.
"""

from __future__ import annotations

import argparse
import itertools
import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.processes import adopt_orphans
from benchmarks.servers import BIN, ROOT, Server, running
from benchmarks.workloads import WORKLOADS, Workload

MB = 1_000_000
RATE_HZ = WORKLOADS["tiny"].sample_rate_hz  # the model's own
RESAMPLED = ((44_100, 2), (22_050, 1))  # rate in Hz, channels
INFLIGHT_BYTES = 256 * 1024 * 1024
ALLOWED_LEFT_MB = 10
ALLOWED_OVER_MB = 64
_CLIENTS = 8
_ANSWER_S = 300.0
_SETTLE_S = 3.0


def main() -> int:
    """Prints a line a crowd; 1 when one of them took or left too much, or somebody got no answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=50)
    options = parser.parse_args()
    adopt_orphans()
    with running(_server(), WORKLOADS["tiny"]) as (url, _):
        port = int(url.rpartition(":")[2].partition("/")[0])
        frontend = _frontend(port)
        half = wav(50 * MB)
        _crowd(port, 3, _CLIENTS, lambda: send(port, half[: MB], 50 * MB))  # what every process takes once
        left = [
            _left(frontend, "given up half-way", port, options.uploads, lambda: send(port, half[: 25 * MB], len(half))),
            _left(frontend, "out of time", port, options.uploads, lambda: send(port, half, len(half), timeout_ms=1)),
        ]
        over = _at_once(frontend, port, options.at_once, "at the model's rate", wav(100 * MB))
        for rate_hz, channels in RESAMPLED:
            body = wav(100 * MB, rate_hz=rate_hz, channels=channels)
            over |= _at_once(frontend, port, options.at_once, f"at {rate_hz} Hz, {channels} channels", body)
    return 1 if over or any(each > ALLOWED_LEFT_MB for each in left) else 0


def _server() -> Server:
    def environment(workload: Workload, port: int, scratch: str) -> dict[str, str]:
        own = {"PORT": port, "RUNTIME_DIR": scratch, "WORKERS": 1, "MAX_SEGMENTS": 100_000,
               "MAX_INFLIGHT_BYTES": INFLIGHT_BYTES}  # fmt: skip
        prefixed = {f"NIGHTSCAN_OPTIMIZED_SERVING__{name}": str(value) for name, value in own.items()}
        return {**workload.environment(Path(scratch)), **prefixed, "PYTHONPATH": str(ROOT)}

    command = [str(BIN / "nightscan"), "serve", "benchmarks.uncollected_app:application"]
    return Server("engine", "/api/optimized/predict", lambda port: command, environment)


def wav(size_bytes: int, *, rate_hz: int = RATE_HZ, channels: int = 1) -> bytes:
    """16 bit, a slow saw, `size_bytes` long with its header."""
    data_bytes = size_bytes - 44
    saw = struct.pack("<1000h", *range(-15_000, 15_000, 30))
    head = b"RIFF" + struct.pack("<I4s4sIHHIIHH4sI", size_bytes - 8, b"WAVE", b"fmt ", 16, 1, channels, rate_hz,
                                 2 * channels * rate_hz, 2 * channels, 16, b"data", data_bytes)  # fmt: skip
    return head + (saw * (data_bytes // len(saw) + 1))[:data_bytes]


def send(port: int, body: bytes, declared_bytes: int, *, timeout_ms: int | None = None) -> int:
    """The status; 0 for an upload that ends before what it declared, -1 for a connection that ended unanswered."""
    named = "" if timeout_ms is None else f"X-Request-Timeout-Ms: {timeout_ms}\r\n"
    head = f"POST /api/optimized/predict HTTP/1.1\r\nHost: bench\r\n{named}Content-Length: {declared_bytes}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_S) as connection:
        try:
            connection.sendall(head.encode() + body[:0])
            connection.sendall(body)
            if len(body) < declared_bytes:
                return 0
            answer = connection.recv(65_536)
        except ConnectionError:
            return -1
    return int(answer.split(b" ", 2)[1]) if answer else -1


def _crowd(port: int, count: int, clients: int, call: Callable[[], int]) -> Counter[int]:
    with ThreadPoolExecutor(clients) as pool:
        return Counter(pool.map(lambda _: call(), range(count)))


def _left(frontend: int, name: str, port: int, count: int, call: Callable[[], int]) -> float:
    before_mb = resident_mb(frontend)
    answers = _crowd(port, count, _CLIENTS, call)
    time.sleep(_SETTLE_S)
    left_mb = resident_mb(frontend) - before_mb
    told = f"answers {dict(answers)}, {before_mb:.0f} MB before, {left_mb:+.1f} MB after"
    print(f"{count} uploads {name}: {told}", flush=True)
    return left_mb


def _at_once(frontend: int, port: int, count: int, name: str, body: bytes) -> bool:
    before_mb, most_mb, done = resident_mb(frontend), 0.0, threading.Event()

    def watch() -> None:
        nonlocal most_mb
        while not done.wait(0.01):
            most_mb = max(most_mb, resident_mb(frontend))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    answers = _crowd(port, count, count, lambda: send(port, body, len(body)))
    lasted_s = time.monotonic() - began
    done.set()
    watcher.join()
    allowed_mb = INFLIGHT_BYTES / MB + ALLOWED_OVER_MB
    print(
        f"{count} uploads of 100 MB {name} at once: answers {dict(answers)} in {lasted_s:.1f} s, "
        f"{before_mb:.0f} MB before, at most {most_mb - before_mb:.0f} MB more (allowed {allowed_mb:.0f})"
    )
    return most_mb - before_mb > allowed_mb or not set(answers) <= {200, 503}


def resident_mb(pid: int) -> float:
    """Private resident memory: without what is shared with other processes, such as the lanes."""
    lines = (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()
    private_kb = [int(line.split()[1]) for line in lines if line.startswith("Private_")]
    return sum(itertools.islice(private_kb, 2)) * 1024 / MB


def _frontend(port: int) -> int:
    """The process that holds a connection to us: found by asking which child of the master listens."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            environment = (entry / "environ").read_bytes()
            parents_command = (Path("/proc") / str(parent) / "cmdline").read_bytes()
        except OSError:  # gone, or somebody else's
            continue
        if f"__PORT={port}\0".encode() in environment and command == parents_command and b"gunicorn" in command:
            return int(entry.name)
    raise SystemExit("no frontend found")


if __name__ == "__main__":
    sys.exit(main())
