"""What the cache brings where recordings come again, and what cache and journal take where none does.

    python -m benchmarks.kept [--rounds 10] [--seconds 4] [--workload tiny] [--variant off] [--variant cache]

Every round starts every variant once, interleaved, and loads it at concurrency 16: first with recordings of which no
two are alike, then, where there is a cache, with one that comes again and again. Printed are medians; compare only
within one run. Redis and Postgres are real ones on free ports, as the tests start them.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from benchmarks.load import Measurement, measure
from benchmarks.processes import adopt_orphans
from benchmarks.servers import Server, engine_with, running
from benchmarks.workloads import WORKLOADS, Workload
from tests.services.postgres_server import OWNER, PostgresServer
from tests.services.redis_server import RedisServer

CONCURRENCY = 16
WARM_S = 2
OFF = {"CACHE_L1_MB": "0", "JOURNAL": "off"}
VARIANTS = ("off", "cache", "cache, Redis", "journal", "journal, Postgres", "all")

Results = dict[tuple[str, str, str], list[Measurement]]  # by workload, variant, traffic


def main() -> int:
    options = parse_arguments()
    adopt_orphans()
    results: Results = defaultdict(list)
    for number in range(options.rounds):
        for workload in (WORKLOADS[name] for name in options.workload):
            for variant in options.variant:
                print(f"round {number + 1}: {workload.name}, {variant}", file=sys.stderr, flush=True)
                with settings_of(variant) as settings:
                    run_one(engine_with(settings), variant, workload, options.seconds, results)
    print_table(results)
    return 0


@contextlib.contextmanager
def settings_of(variant: str) -> Iterator[dict[str, str]]:
    """What of the settings is not as shipped; the servers that it names run meanwhile."""
    with contextlib.ExitStack() as stack:
        settings = dict(OFF)
        if variant.startswith("cache") or variant == "all":
            del settings["CACHE_L1_MB"]
        if variant.startswith("journal") or variant == "all":
            del settings["JOURNAL"]
        if variant in ("cache, Redis", "all"):
            settings["REDIS_URL"] = stack.enter_context(RedisServer()).url
        if variant in ("journal, Postgres", "all"):
            settings["DATABASE_URL"] = stack.enter_context(PostgresServer()).url(OWNER)
        yield settings


def run_one(server: Server, variant: str, workload: Workload, seconds: int, results: Results) -> None:
    with tempfile.TemporaryDirectory(prefix="ns-bench-") as folder, running(server, workload) as (url, _):
        files = [Path(folder) / f"{number}.wav" for number in range(len(workload.bodies))]
        for file, body in zip(files, workload.bodies, strict=True):
            file.write_bytes(body)
        measure(url, files, concurrency=CONCURRENCY, seconds=WARM_S)
        for traffic in ("unique", "same") if "cache" in variant or variant == "all" else ("unique",):
            measured = measure(url, files, concurrency=CONCURRENCY, seconds=seconds, same=traffic == "same")
            results[workload.name, variant, traffic].append(measured)


def print_table(results: Results) -> None:
    print("workload  variant            traffic   req/s   x off  p50 ms  p99 ms  CPU ms/req  x off  PSS MB  errors")
    for (workload, variant, traffic), rows in results.items():
        off = _medians(results.get((workload, "off", "unique"), rows))
        found = _medians(rows)
        print(
            f"{workload:9} {variant:18} {traffic:6} {found.requests_per_s:8.0f}"
            f" {found.requests_per_s / off.requests_per_s:7.2f} {found.p50_ms:7.1f} {found.p99_ms:7.1f}"
            f" {found.cpu_ms_per_request:11.3f} {found.cpu_ms_per_request / off.cpu_ms_per_request:6.2f}"
            f" {found.pss_mb:7.0f} {sum(row.errors for row in rows):7}"
        )


def _medians(rows: list[Measurement]) -> Measurement:
    names = [field.name for field in dataclasses.fields(Measurement)]
    return Measurement(**{name: statistics.median(getattr(row, name) for row in rows) for name in names})


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kept")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--workload", action="append", choices=list(WORKLOADS))
    parser.add_argument("--variant", action="append", choices=VARIANTS)
    options = parser.parse_args()
    options.workload = options.workload or ["tiny"]
    options.variant = options.variant or ["off", "cache", "journal"]
    return options


if __name__ == "__main__":
    sys.exit(main())
