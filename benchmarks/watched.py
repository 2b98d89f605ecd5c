"""What it costs that an operator can see: traces, histograms and logs, of the processor that a request takes.

    python -m benchmarks.watched [--rounds 5] [--seconds 6] [--workload tiny] [--variant shipped] [--variant traced]

Every round starts every variant once, interleaved, at concurrency 16, without cache and journal. Printed are medians:
requests per second and the processor's time for each, over all processes of the server; the time in the functions on
the way of a request that are there for those who look (`TIMED`), in the supervisor, and both as a share of all.
Requests per second drift more than that between two runs, so the share is what is to be believed.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.counting import CallTime, roles
from benchmarks.kept import CONCURRENCY, OFF, WARM_S
from benchmarks.load import load
from benchmarks.processes import adopt_orphans, cpu_s, own_descendants
from benchmarks.servers import ROOT, engine_with, running, timed
from benchmarks.workloads import WORKLOADS, Workload
from tests.support.collector import Collector

VARIANTS = ("quiet", "shipped", "logged", "traced")  # no access log; as shipped; a line each; a collector as well
TIMED = (
    "frontend.predict.request_notes:RequestNotes.answered",
    "frontend.predict.timing:RequestTiming.header",
    "frontend.predict.context:RouteContext.count_answer",
    "frontend.predict.context:RouteContext.count_recording",
    "engine.observe.log:LineHandler.emit",
)


class Watched(NamedTuple):
    """Of one run, for each request."""

    requests_per_s: float
    cpu_us: float  # of all processes of the server
    calls_us: float  # in TIMED
    supervisor_us: float

    @property
    def share(self) -> float:
        return (self.calls_us + self.supervisor_us) / self.cpu_us


def main() -> int:
    options = parse_arguments()
    adopt_orphans()
    found: dict[tuple[str, str], list[Watched]] = defaultdict(list)
    for number in range(options.rounds):
        for workload in (WORKLOADS[name] for name in options.workload):
            for variant in options.variant:
                print(f"round {number + 1}: {workload.name}, {variant}", file=sys.stderr, flush=True)
                with settings_of(variant) as settings:
                    found[workload.name, variant].append(run_one(settings, workload, options.seconds))
    print("workload  variant    req/s  CPU us/req  calls us  supervisor us  share %")
    for (name, variant), rows in found.items():
        each = Watched(*map(statistics.median, zip(*rows, strict=True)))
        print(
            f"{name:9} {variant:8} {each.requests_per_s:7.0f} {each.cpu_us:11.1f} {each.calls_us:9.2f}"
            f" {each.supervisor_us:14.2f} {100 * each.share:8.2f}"
        )
    return 0


@contextlib.contextmanager
def settings_of(variant: str) -> Iterator[dict[str, str]]:
    """What of the settings is not as shipped; a collector runs meanwhile, where one is to get traces."""
    access = {"quiet": "off", "logged": "all"}.get(variant, "errors")
    with contextlib.ExitStack() as stack:
        endpoint = stack.enter_context(Collector()).endpoint if variant == "traced" else ""
        yield {**OFF, "ACCESS_LOG": access, "OTEL_ENDPOINT": endpoint, "STATUS_PORT": "0"}


def run_one(settings: dict[str, str], workload: Workload, seconds: int) -> Watched:
    with tempfile.TemporaryDirectory(prefix="ns-bench-") as folder:
        found_in, body = Path(folder) / "found", Path(folder) / "body.wav"
        found_in.mkdir()
        body.write_bytes(workload.bodies[0])
        with running(timed(engine_with(settings), TIMED, counted_in=found_in), workload) as (url, _):
            load(url, [body], concurrency=CONCURRENCY, seconds=WARM_S)
            processes, servers = roles(), own_descendants()
            timing = CallTime(found_in, processes.frontends, ROOT)
            before = cpu_s(servers), cpu_s(processes.supervisors)
            with timing.running():
                loaded = load(url, [body], concurrency=CONCURRENCY, seconds=seconds)
            used_s = [now - then for now, then in zip((cpu_s(servers), cpu_s(processes.supervisors)), before)]
            calls = timing.collect()
    for name, (count, spent_s) in calls.items():
        told = f"    {name:36} {count / loaded.answers:5.2f} calls {1e6 * spent_s / loaded.answers:7.2f} us"
        print(told, file=sys.stderr, flush=True)
    calls_s = sum(spent_s for _, spent_s in calls.values())
    everything, supervisor = (1e6 * each / loaded.answers for each in used_s)
    return Watched(loaded.answers / seconds, everything, 1e6 * calls_s / loaded.answers, supervisor)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watched")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--workload", action="append", choices=list(WORKLOADS))
    parser.add_argument("--variant", action="append", choices=VARIANTS)
    options = parser.parse_args()
    options.workload = options.workload or ["tiny"]
    options.variant = options.variant or list(VARIANTS)
    return options


if __name__ == "__main__":
    sys.exit(main())
