"""The worst inputs that we know, one after another, while another client asks `/health` all the time.

    python -m benchmarks.worst_inputs [--seconds 3] [--only WORD]

Starts servers with the shipped defaults: one with the demo model, one with a model of a thousand classes. Each input
is sent again and again for `--seconds`, at least once. The clock of the other client counts: what it waits is what one
request costs everybody else. Its process is one of its own, so that making and sending the inputs delays nothing.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import time

import numpy as np

from benchmarks.processes import adopt_orphans
from benchmarks.servers import BIN, ROOT, Server, running
from benchmarks.workloads import WORKLOADS, Workload
from benchmarks.worst_bodies import INPUTS, WorstInput

ALLOWED_P99_MS = 50.0
_PAUSE_S = 0.002  # between two questions of the other client
_HEALTH = b"GET /health HTTP/1.1\r\nHost: bench\r\n\r\n"
_ANSWER_S = 120.0


def main() -> int:
    """Prints a line an input; 1 when one of them was over the allowed p99."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--only", default="", help="inputs whose name holds this")
    parser.add_argument("--probe", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.probe:
        return _probe(options.probe)
    adopt_orphans()
    print(f"{'input':45s} {'answer':>9s} {'times':>6s} {'asked':>6s} {'p50 ms':>7s} {'p99 ms':>7s} {'max ms':>7s}")
    slow = 0
    for many in (False, True):
        chosen = [each for each in INPUTS if each.needs_many_classes is many and options.only in each.name]
        if chosen:
            with running(_server(many), WORKLOADS["tiny"]) as (url, _):
                slow += _try(int(url.rpartition(":")[2].partition("/")[0]), chosen, options.seconds)
    return 1 if slow else 0


def _server(many_classes: bool) -> Server:
    def environment(workload: Workload, port: int, scratch: str) -> dict[str, str]:
        own = {"PORT": str(port), "RUNTIME_DIR": scratch, "MODEL_POOL_SIZE": "1"}
        if many_classes:
            own["MODEL_FACTORY"] = "benchmarks.many_classes:many_classes"
        return {f"NIGHTSCAN_OPTIMIZED_SERVING__{name}": value for name, value in own.items()} | {
            "PYTHONPATH": str(ROOT)
        }

    return Server("engine", "/api/optimized/predict", lambda port: [str(BIN / "nightscan"), "serve"], environment)


def _try(port: int, inputs: list[WorstInput], seconds: float) -> int:
    """Returns how many were over the allowed p99."""
    with tempfile.TemporaryFile() as taken:
        command = [sys.executable, "-m", "benchmarks.worst_inputs", "--probe", str(port)]
        prober = subprocess.Popen(command, cwd=ROOT, stdout=taken, stdin=subprocess.PIPE)
        try:
            time.sleep(1.0)  # of quiet, for the line that the others are held against
            spans = [("nothing else", "", 0, 0.0, time.monotonic())]
            for each in inputs:
                request = each.make()
                begun_s = time.monotonic()
                status, times = _send(port, request, seconds)
                spans.append((each.name, status, times, begun_s, time.monotonic()))
        finally:
            prober.kill()
            prober.wait()
        taken.seek(0)
        data = taken.read()
    moments = np.frombuffer(data[: len(data) // 16 * 16], np.float64).reshape(-1, 2)
    return sum(_tell(moments, *span) for span in spans)


def _tell(moments: np.ndarray, name: str, status: str, times: int, begun_s: float, ended_s: float) -> bool:
    # A question counts where it waited while the input was there, also when it was asked before.
    during = moments[(moments[:, 0] < ended_s) & (moments[:, 0] + moments[:, 1] > begun_s), 1] * 1e3
    p50, p99, most = np.percentile(during, [50, 99, 100]) if len(during) else (np.nan, np.inf, np.inf)
    mark = "  <- over" if p99 > ALLOWED_P99_MS else ""
    print(f"{name:45s} {status:>9s} {times:6d} {len(during):6d} {p50:7.2f} {p99:7.2f} {most:7.2f}{mark}", flush=True)
    return bool(mark)


def _send(port: int, request: bytes, seconds: float) -> tuple[str, int]:
    """The last answer's status, and how often the request was sent."""
    give_up_at = time.monotonic() + seconds
    times, status = 0, ""
    while not times or time.monotonic() < give_up_at:
        times += 1
        with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_S) as connection:
            try:
                connection.sendall(request)
                status = _status_of(connection)
            except OSError as error:
                status = type(error).__name__[:9]
    return status, times


def _status_of(connection: socket.socket) -> str:
    """Reads one whole answer."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        if not (piece := connection.recv(1 << 20)):
            return "closed"
        answer += piece
    head, _, begun = answer.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    left = (lengths or [0])[0] - len(begun)
    while left > 0 and (piece := connection.recv(1 << 20)):
        left -= len(piece)
    return head.split(b" ", 2)[1].decode()


def _probe(port: int) -> int:
    """The other client: writes when it asked and how long it waited, in seconds, until it is killed."""
    with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            begun_s = time.monotonic()
            connection.sendall(_HEALTH)
            while b"}" not in connection.recv(4096):
                pass
            sys.stdout.buffer.write(np.array([begun_s, time.monotonic() - begun_s]).tobytes())
            sys.stdout.buffer.flush()
            time.sleep(_PAUSE_S)


if __name__ == "__main__":
    sys.exit(main())
