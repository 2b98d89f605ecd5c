"""How much of the processor the cache and the journal take where no recording comes twice, by function and by process.

    python -m benchmarks.added [--seconds 8] [--workload tiny] [--variant cache] [--part counted]

Of one run: the time in their functions on the way of a request (`TIMED`, in every thread of a frontend), in the threads
that frontends have beside the one that serves, and in the supervisor, over all that the server takes. Requests per
second drift more than that between two runs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.counting import CallTime, roles
from benchmarks.kept import CONCURRENCY, VARIANTS, WARM_S, settings_of
from benchmarks.load import load
from benchmarks.processes import adopt_orphans, cpu_s, own_descendants, threads_cpu_s
from benchmarks.servers import ROOT, engine_with, running, timed
from benchmarks.workloads import WORKLOADS, Workload

TIMED = (
    "frontend.predict.prediction:PredictionRoute._looked_up",
    "engine.stores.lookup:Lookup.advance",
    "engine.stores.lookup:Lookup.keep",
    "engine.stores.lookup:Lookup.keep_nothing",
    "engine.stores.lookup:Lookup.let_go",
    "frontend.predict.journal_entry:JournalEntries.answered",
)

# What counting takes of a request in its frontend; an instance counts once for a batch.
COUNTED = (
    "frontend.predict.context:RouteContext.count_answer",
    "engine.shm.board:LaneBoard.add_answered",
)
PARTS = {"kept": TIMED, "counted": COUNTED}


def main() -> int:
    options = parse_arguments()
    adopt_orphans()
    for workload in (WORKLOADS[name] for name in options.workload):
        for variant in options.variant:
            with settings_of(variant) as settings:
                run_one(variant, settings, workload, options.seconds, PARTS[options.part])
    return 0


def run_one(
    variant: str, settings: dict[str, str], workload: Workload, seconds: int, functions: tuple[str, ...]
) -> None:
    with tempfile.TemporaryDirectory(prefix="ns-bench-") as folder:
        found_in, body = Path(folder) / "found", Path(folder) / "body.wav"
        found_in.mkdir()
        body.write_bytes(workload.bodies[0])
        with running(timed(engine_with(settings), functions, counted_in=found_in), workload) as (url, _):
            load(url, [body], concurrency=CONCURRENCY, seconds=WARM_S)
            processes = roles()
            timing = CallTime(found_in, processes.frontends, ROOT)
            servers = own_descendants()
            before = figures(servers, processes.frontends, processes.supervisors)
            with timing.running():
                loaded = load(url, [body], concurrency=CONCURRENCY, seconds=seconds)
            after = figures(servers, processes.frontends, processes.supervisors)
            calls = timing.collect()
    everything, threads, supervisor = (1e6 * (b - a) / loaded.answers for a, b in zip(before, after))
    inside = sum(used_s for _, used_s in calls.values()) * 1e6 / loaded.answers
    added = inside + threads + supervisor
    print(f"{workload.name}, {variant}: {loaded.answers} requests, {everything:.1f} us of the processor for each")
    for name, (count, used_s) in sorted(calls.items(), key=lambda item: -item[1][1]):
        print(f"    {name:36} {count / loaded.answers:5.2f} calls {1e6 * used_s / loaded.answers:7.2f} us")
    print(f"    {'other threads of the frontends':36} {threads:19.2f} us")
    print(f"    {'supervisor':36} {supervisor:19.2f} us")
    print(f"    {'together':36} {added:19.2f} us: {100 * added / everything:.1f} %")


def figures(servers: list[int], frontends: list[int], supervisors: list[int]) -> tuple[float, float, float]:
    """Seconds of the processor: of the server, of the other threads of its frontends, of its supervisor."""
    return cpu_s(servers), threads_cpu_s(frontends), cpu_s(supervisors)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.added")
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--workload", action="append", choices=list(WORKLOADS))
    parser.add_argument("--variant", action="append", choices=VARIANTS)
    parser.add_argument("--part", choices=list(PARTS), default="kept", help="whose functions are timed")
    options = parser.parse_args()
    options.workload = options.workload or ["tiny"]
    options.variant = options.variant or list(VARIANTS)
    return options


if __name__ == "__main__":
    sys.exit(main())
