"""What it costs that an operator can see: traces, histograms and logs, of the processor that a request takes.

    python -m benchmarks.watched [--turns 20] [--seconds 2] [--workload tiny] [--variant shipped] [--variant traced]

One server for each variant, loaded at concurrency 16 without cache and journal. By turns the functions that are there
for those who look (`LEFT_OUT`) work, or do nothing; the processor's time of all processes of the server, for each
request, is compared between the two. Requests per second drift more than that from one turn to the next. Printed are
medians, the difference between neighbouring turns and its standard error.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.counting import CallsLeftOut, roles
from benchmarks.kept import CONCURRENCY, OFF, WARM_S
from benchmarks.load import Measurement, load, measure
from benchmarks.processes import adopt_orphans
from benchmarks.servers import ROOT, engine_with, running, timed
from benchmarks.workloads import WORKLOADS, Workload
from tests.support.collector import Collector

VARIANTS = ("quiet", "shipped", "logged", "traced")  # no access log; as shipped; a line each; a collector as well
LEFT_OUT = (
    "frontend.predict.request_notes:RequestNotes.answered",
    "frontend.predict.context:RouteContext.count_answer",
    "engine.observe.log:LineHandler.emit",
    "engine.shm.seat_row:SeatRow.add_taken",
    "engine.shm.seat_row:SeatRow.add_batch",
)


class Turn(NamedTuple):
    """Of some seconds with everything, and as many without what is left out."""

    requests_per_s: float
    whole_us: float  # of the processor, of all processes, for each request
    bare_us: float


def main() -> int:
    options = parse_arguments()
    adopt_orphans()
    print("workload  variant    req/s  CPU us/req  without it  difference %  +-", flush=True)
    for workload in (WORKLOADS[name] for name in options.workload):
        for variant in options.variant:
            with settings_of(variant) as settings:
                turns = run_one(settings, workload, turns=options.turns, seconds=options.seconds)
            print(f"{workload.name:9} {variant:8} {told(turns)}", flush=True)
    return 0


def told(turns: Sequence[Turn]) -> str:
    """One line of the table."""
    rate, whole_us, bare_us = map(statistics.median, zip(*turns, strict=True))
    shares = [100 * (turn.whole_us / turn.bare_us - 1) for turn in turns]
    error = statistics.stdev(shares) / math.sqrt(len(shares))
    return f"{rate:7.0f} {whole_us:11.1f} {bare_us:11.1f} {statistics.median(shares):13.2f} {error:5.2f}"


@contextlib.contextmanager
def settings_of(variant: str) -> Iterator[dict[str, str]]:
    """What of the settings is not as shipped; a collector runs meanwhile, where one is to get traces."""
    access = {"quiet": "off", "logged": "all"}.get(variant, "errors")
    with contextlib.ExitStack() as stack:
        endpoint = stack.enter_context(Collector()).endpoint if variant == "traced" else ""
        yield {**OFF, "ACCESS_LOG": access, "OTEL_ENDPOINT": endpoint, "STATUS_PORT": "0"}


def run_one(settings: dict[str, str], workload: Workload, *, turns: int, seconds: int) -> list[Turn]:
    with tempfile.TemporaryDirectory(prefix="ns-bench-") as folder:
        found_in, body = Path(folder) / "found", Path(folder) / "body.wav"
        found_in.mkdir()
        body.write_bytes(workload.bodies[0])
        with running(timed(engine_with(settings), LEFT_OUT, counted_in=found_in), workload) as (url, _):
            load(url, [body], concurrency=CONCURRENCY, seconds=WARM_S)
            processes = roles()
            left_out = CallsLeftOut(found_in, [*processes.frontends, *processes.instances], ROOT)

            def one_turn(bare_first: bool) -> Turn:
                costs: dict[bool, Measurement] = {}
                for bare in (bare_first, not bare_first):
                    with left_out.running() if bare else contextlib.nullcontext():
                        costs[bare] = measure(url, [body], concurrency=CONCURRENCY, seconds=seconds)
                    if bare:
                        assert len(left_out.collect()) >= len(LEFT_OUT) - 1
                whole, bare_cost = costs[False], costs[True]
                return Turn(whole.requests_per_s, 1e3 * whole.cpu_ms_per_request, 1e3 * bare_cost.cpu_ms_per_request)

            return [one_turn(bool(number % 2)) for number in range(turns)]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watched")
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--seconds", type=int, default=2)
    parser.add_argument("--workload", action="append", choices=list(WORKLOADS))
    parser.add_argument("--variant", action="append", choices=VARIANTS)
    options = parser.parse_args()
    options.workload = options.workload or ["tiny"]
    options.variant = options.variant or list(VARIANTS)
    return options


if __name__ == "__main__":
    sys.exit(main())
