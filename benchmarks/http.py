"""Requests per second, latency, CPU and memory of the engine against a plain inline Flask app.

    python -m benchmarks.http [--rounds 5] [--seconds 4] [--workload tiny] [--server engine] [--concurrency 16]

Every round runs every server once, interleaved, with shipped defaults; compare only within one run. Printed are the
medians over the rounds, the best round, and the ratio of the best rounds to the inline app's best.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from benchmarks.load import Measurement, measure
from benchmarks.processes import adopt_orphans
from benchmarks.servers import SERVERS, Server, running
from benchmarks.workloads import DEMO, WORKLOADS, Workload

Results = dict[tuple[str, str, int], list[Measurement]]
WARM_S = 2


def main() -> int:
    options = parse_arguments()
    adopt_orphans()
    results: Results = defaultdict(list)
    first_200_s: dict[tuple[str, str], list[float]] = defaultdict(list)
    for number in range(options.rounds):
        for workload in (WORKLOADS[name] for name in options.workload):
            for server in (s for s in SERVERS if s.name in options.server):
                print(f"round {number + 1}: {workload.name}, {server.name}", file=sys.stderr, flush=True)
                first_s = run_one(server, workload, options, results)
                first_200_s[workload.name, server.name].append(first_s)
    print_table(results, first_200_s)
    return 0


def run_one(server: Server, workload: Workload, options: argparse.Namespace, results: Results) -> float:
    with tempfile.TemporaryDirectory(prefix="ns-bench-") as folder, running(server, workload) as (url, first_s):
        files = [Path(folder) / f"{number}.wav" for number in range(len(workload.bodies))]
        for file, body in zip(files, workload.bodies, strict=True):
            file.write_bytes(body)
        measure(url, files, concurrency=16, seconds=WARM_S)
        for concurrency in options.concurrency:
            measured = measure(url, files, concurrency=concurrency, seconds=options.seconds)
            results[workload.name, server.name, concurrency].append(measured)
    return first_s


def print_table(results: Results, first_200_s: dict[tuple[str, str], list[float]]) -> None:
    figures = "req/s  best   x inline  p50 ms  p99 ms  CPU ms/req  PSS MB  errors  first 200 s"
    print(f"workload  server             c   {figures}")
    for (workload, server, concurrency), rows in sorted(results.items()):
        best = max(row.requests_per_s for row in rows)
        inline = [row.requests_per_s for row in results.get((workload, "inline", concurrency), [])]
        ratio = f"{best / max(inline):8.2f}" if inline else "       -"
        middle = {
            field: statistics.median(getattr(row, field) for row in rows)
            for field in ("requests_per_s", "p50_ms", "p99_ms", "cpu_ms_per_request", "pss_mb")
        }
        print(
            f"{workload:8s}  {server:16s} {concurrency:3d} {middle['requests_per_s']:7.0f} {best:6.0f}  {ratio}  "
            f"{middle['p50_ms']:7.2f} {middle['p99_ms']:7.2f}  {middle['cpu_ms_per_request']:9.3f}  "
            f"{middle['pss_mb']:6.0f}  {sum(row.errors for row in rows):5d}   "
            f"{statistics.median(first_200_s[workload, server]):5.2f}"
        )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http", description=(__doc__ or "").splitlines()[0])
    there = [workload.name for workload in WORKLOADS.values() if workload.bodies]
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    usual = [name for name in there if name != DEMO]
    parser.add_argument("--workload", nargs="+", default=usual, choices=there)
    parser.add_argument("--server", nargs="+", default=[s.name for s in SERVERS], choices=[s.name for s in SERVERS])
    parser.add_argument("--concurrency", nargs="+", type=int, default=[1, 16, 64])
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
