"""What serving takes of the processor for each request over HTTP, beside a bare loop over the same bytes.

    python -m benchmarks.bare [--precision fp32 auto] [--rounds 5] [--seconds 6] [--workload resnet] [--wait 300]

The server runs with shipped defaults and the precision that is named, at concurrency 16, no two requests alike. What it
serves when its model is tuned, or when `--wait` seconds are over, the bare loop (`benchmarks/bare_loop.py`) computes in
the same form and in batches as large as the server's were on average, each round right after the server. `loops`: how
many bare loops compute at once. One has the machine for itself; as many as the server has instances share memory and
caches as those do. Printed are medians, and of the ratios the one in the middle. `--wait 0`: tuning is off.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.bare_loop import Bare
from benchmarks.counting import Roles, roles
from benchmarks.load import ROOT, load
from benchmarks.processes import adopt_orphans, cpu_s, own_descendants
from benchmarks.servers import engine_with, is_tuned, port_of, running
from benchmarks.workloads import WORKLOADS, Workload
from engine.forms import EAGER

CONCURRENCY = 16
WARM_S = 6  # until an instance that always has work has met every batch size


@dataclass
class Rounds:
    """Milliseconds of the processor for each request, by round."""

    server: list[float] = field(default_factory=list)
    frontends: list[float] = field(default_factory=list)
    instances: list[float] = field(default_factory=list)
    batch_sizes: list[float] = field(default_factory=list)
    bare: dict[int, list[Bare]] = field(default_factory=dict)  # by the number of loops


class Course:
    """One server, and the loops beside it."""

    def __init__(self, url: str, workload: Workload, wav: Path, state: Path) -> None:
        self._url = url
        self._workload = workload
        self._wav = wav
        self._state = state
        self.form = EAGER.name
        self.rounds = Rounds()

    def wait_until_tuned(self, limit_s: float) -> None:
        """Until trials are over, or the time is."""
        give_up_at = time.monotonic() + limit_s
        while not is_tuned(port_of(self._url)) and time.monotonic() < give_up_at:
            time.sleep(1.0)
        self.form = self._serving_form()

    def _serving_form(self) -> str:
        request = urllib.request.Request(self._url, self._wav.read_bytes(), {"Content-Type": "audio/wav"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            version = str(json.load(answer)["model_version"])
        return version.partition("+")[2] or EAGER.name

    def one_round(self, seconds: int) -> None:
        processes, rounds = roles(), self.rounds
        parts = (own_descendants(), processes.frontends, processes.instances)
        before, batches = [cpu_s(pids) for pids in parts], self._batches()
        loaded = load(self._url, [self._wav], concurrency=CONCURRENCY, seconds=seconds)
        if loaded.errors:
            raise SystemExit(f"requests without an answer: {loaded.errors}")
        used_ms = [1e3 * (cpu_s(pids) - was) / loaded.answers for pids, was in zip(parts, before)]
        for kept, found in zip((rounds.server, rounds.frontends, rounds.instances), used_ms):
            kept.append(found)
        rounds.batch_sizes.append(loaded.answers / max(1, self._batches() - batches))
        for loops in sorted({1, _instances(processes)}):
            rounds.bare.setdefault(loops, []).append(self._bare(loops, round(rounds.batch_sizes[-1]), seconds))

    def _batches(self) -> int:
        where = urllib.parse.urlsplit(self._url)
        with urllib.request.urlopen(f"http://{where.netloc}/api/optimized/stats", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)["batch_processing"]
        return sum(int(counted.get("total_batches", 0)) for counted in found.values())

    def _bare(self, loops: int, batch: int, seconds: int) -> Bare:
        """The loop that took most of the processor for a request."""
        folders = sorted(path.parent for path in self._state.glob("tuning/*/result.json"))
        form = ["--form", self.form, *(["--folder", str(folders[-1])] if folders else [])]
        command = [sys.executable, "-m", "benchmarks.bare_loop", self._workload.name, str(self._wav), *form]
        asked = [*command, "--batch", str(batch), "--seconds", str(seconds)]
        started = [subprocess.Popen(asked, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(loops)]
        outputs = [loop.communicate()[0] for loop in started]
        found = [Bare(**json.loads(output)) for output in outputs if output]
        if len(found) < loops:
            raise SystemExit(f"a bare loop ended without a figure: {' '.join(asked)}")
        return max(found, key=lambda bare: bare.cpu_ms_per_request)


def _instances(processes: Roles) -> int:
    return max(1, len(processes.instances))


def main() -> int:
    options = parse_arguments()
    adopt_orphans()
    for workload in (WORKLOADS[name] for name in options.workload):
        for precision in options.precision:
            print_rounds(workload, precision, run_one(workload, precision, options))
    return 0


def run_one(workload: Workload, precision: str, options: argparse.Namespace) -> Course:
    with tempfile.TemporaryDirectory(prefix="ns-bench-") as name:
        wav, state = Path(name) / "one.wav", Path(name) / "state"
        wav.write_bytes(workload.bodies[0])
        settings = {"PRECISION": precision, "TUNING": "on" if options.wait else "off", "STATE_DIR": str(state)}
        with running(engine_with(settings), workload, tuned=False) as (url, _):
            course = Course(url, workload, wav, state)
            course.wait_until_tuned(options.wait)
            load(url, [wav], concurrency=CONCURRENCY, seconds=WARM_S)
            for number in range(options.rounds):
                print(f"{workload.name}, {precision}, {course.form}: round {number + 1}", file=sys.stderr, flush=True)
                course.one_round(options.seconds)
    return course


def print_rounds(workload: Workload, precision: str, course: Course) -> None:
    rounds = course.rounds
    server, frontends, instances, size = (
        statistics.median(each) for each in (rounds.server, rounds.frontends, rounds.instances, rounds.batch_sizes)
    )
    print(f"{workload.name}, precision={precision}, served as {course.form}, batches of {size:.2f}")
    parts = f"frontends {frontends:.3f}, instances {instances:.3f}"
    print(f"  server {server:16.3f} ms of the processor a request ({parts})")
    for loops, found in rounds.bare.items():
        bare_ms = statistics.median(bare.cpu_ms_per_request for bare in found)
        ratio = statistics.median(ours / bare.cpu_ms_per_request for ours, bare in zip(rounds.server, found))
        print(f"  bare, {loops} at once {bare_ms:7.3f} ms; the server takes {ratio:.3f} times that")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--precision", nargs="+", default=["fp32", "auto"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=6)
    parser.add_argument("--wait", type=float, default=300.0)
    parser.add_argument("--workload", nargs="+", default=["resnet"], choices=[name for name in WORKLOADS])
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
