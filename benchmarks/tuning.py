"""What tuning costs while trials run, and what it brings: requests per second, the latency of a lone one, failures.

    python -m benchmarks.tuning [--workload resnet] [--seconds 4] [--precision fp32] [--limit-s 400]

A server that tunes nothing and one with shipped defaults, one after the other, on a machine that does nothing else.
What was measured before tuning was over counts as `trials`, the swap with it: what fails by it is among the errors.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks.load import Measurement, measure
from benchmarks.processes import adopt_orphans
from benchmarks.servers import TUNED_S, engine_with, is_tuned, port_of, running, what_is_tuned
from benchmarks.workloads import WORKLOADS, Workload

LOADS = (1, 16)  # concurrent requests
Phases = dict[tuple[str, int], list[Measurement]]
WARM_S = 2


def main() -> int:
    options = parse_arguments()
    adopt_orphans()
    workload, found = WORKLOADS[options.workload], defaultdict[tuple[str, int], list[Measurement]](list)
    with tempfile.TemporaryDirectory(prefix="ns-bench-") as folder:
        files = written(workload, Path(folder))
        with running(engine_with({"TUNING": "off"}), workload) as (url, first_s):
            print(f"tuning=off: first 200 after {first_s:.2f} s", flush=True)
            measure(url, files, concurrency=16, seconds=WARM_S)
            note(found, "off", url, files, options.seconds)
        with running(engine_with({"PRECISION": options.precision}), workload, tuned=False) as (url, first_s):
            print(f"defaults: first 200 after {first_s:.2f} s", flush=True)
            during_trials(found, url, files, options)
            told = what_is_tuned(port_of(url))
            note(found, "tuned" if is_tuned(port_of(url)) else "trials", url, files, options.seconds)
    print_table(found)
    print_forms(told)
    return 0


def written(workload: Workload, folder: Path) -> list[Path]:
    """The bodies of `workload` as files."""
    files = [folder / f"{number}.wav" for number in range(len(workload.bodies))]
    for file, body in zip(files, workload.bodies, strict=True):
        file.write_bytes(body)
    return files


def note(found: Phases, phase: str, url: str, files: list[Path], seconds: int) -> None:
    for concurrency in LOADS:
        found[phase, concurrency].append(measure(url, files, concurrency=concurrency, seconds=seconds))


def during_trials(found: Phases, url: str, files: list[Path], options: argparse.Namespace) -> None:
    """Measures again and again until tuning is over."""
    began = time.monotonic()
    while not is_tuned(port_of(url)) and time.monotonic() - began < options.limit_s:
        note(found, "trials", url, files, options.seconds)
    print(f"defaults: tuned {time.monotonic() - began:.0f} s after the first 200", flush=True)


def print_table(found: Phases) -> None:
    print("phase    c   req/s  x off   p50 ms  p99 ms  errors  CPU ms/req")
    for (phase, concurrency), rows in found.items():
        rate = statistics.median(row.requests_per_s for row in rows)
        before = statistics.median(row.requests_per_s for row in found["off", concurrency])
        p50, p99 = (statistics.median(getattr(row, name) for row in rows) for name in ("p50_ms", "p99_ms"))
        used = statistics.median(row.cpu_ms_per_request for row in rows)
        latency, errors = f"{p50:7.2f} {p99:7.2f}", sum(row.errors for row in rows)
        print(f"{phase:7s} {concurrency:2d} {rate:7.1f}  {rate / before:5.2f}  {latency}  {errors:6d}  {used:10.2f}")


def print_forms(told: dict[str, Any]) -> None:
    for deployment, tuning in told.items():
        state, gain = f"{tuning['state']} {tuning['stage']}".strip(), tuning["speedup"]
        print(f"{deployment}: {state}, {tuning['form']}, {gain} times as fast {tuning['reason']}")
        for each in tuning["candidates"]:
            largest = f"{each['agreement']['largest']:.1e}" if each["agreement"] else ""
            note = each["refused"] or each["needs"]
            print(f"  {each['form']:24s} {each['items_per_s'] or '':>8}  {largest:>8}  {note}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning", description=(__doc__ or "").splitlines()[0])
    there = [workload.name for workload in WORKLOADS.values() if workload.bodies]
    parser.add_argument("--workload", default="resnet", choices=there)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--limit-s", type=float, default=TUNED_S)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
