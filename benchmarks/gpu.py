"""How much of a GPU the engine uses: windows a second beside a bare loop, how busy the device is, half precision.

    python -m benchmarks.gpu [--rounds 3] [--seconds 4] [--batch 32] [--feeders 4] [--precision fp32 auto]

Windows come through the Python API from several programs at once, since HTTP would carry too few of them; the bare loop
(`benchmarks/gpu_bare.py`) computes the same form in batches as large, each round right after the engine. How busy the
device is, is what nvidia-smi says of the time in which anything ran on it. Where there is no GPU this says so and ends
with 1; `--device cpu` runs all of it on the processor, to see that it works.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import adopt_orphans
from benchmarks.servers import ROOT
from benchmarks.workloads import WORKLOADS, Workload
from engine.forms import EAGER
from engine.manager import SyncModelServingManager
from engine.spec import ModelSource, ModelSpec

DEPLOYMENT = "bench"
_BUSY_EVERY_MS = 100


@dataclass
class Found:
    """Of one precision, by round."""

    form: str = EAGER.name
    engine: list[float] = field(default_factory=list)
    bare: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)  # per cent
    errors: int = 0


class BusyDevice:
    """Watches nvidia-smi; knows nothing where there is none."""

    def __init__(self, device: str) -> None:
        self._index = device.partition(":")[2] or "0"
        self._known = device.startswith("cuda") and shutil.which("nvidia-smi") is not None

    @contextlib.contextmanager
    def watched(self, into: list[float]) -> Iterator[None]:
        """Adds the mean over the time inside, without its first and last fifth, in which the load comes and goes."""
        if not self._known:
            yield
            return
        asked = ["-i", self._index, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        command = ["nvidia-smi", *asked, "-lms", str(_BUSY_EVERY_MS)]
        watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            yield
        finally:
            watching.terminate()
            shares = [float(line) for line in watching.communicate()[0].splitlines() if line.strip().isdigit()]
            edge = len(shares) // 5
            into.extend([statistics.mean(shares[edge : len(shares) - edge])] if shares else [])


class Course:
    """One engine with one deployment, and the loops beside it."""

    def __init__(self, manager: SyncModelServingManager, workload: Workload, options: argparse.Namespace) -> None:
        self._manager = manager
        self._workload = workload
        self._options = options
        self._frames = round(workload.sample_rate_hz * workload.segment_s)
        self.found = Found()

    def deploy(self) -> None:
        spec = ModelSpec(
            source=ModelSource.FACTORY, location=f"benchmarks.models:{self._workload.model}",
            import_paths=(str(ROOT),), sample_rate_hz=self._workload.sample_rate_hz, segment_s=self._workload.segment_s,
        )
        if not self._manager.deploy_optimized_model(DEPLOYMENT, spec):
            raise SystemExit(self._manager.deployment_error(DEPLOYMENT))
        give_up_at = time.monotonic() + self._options.wait
        while self._form() == EAGER.name and time.monotonic() < give_up_at:
            time.sleep(1.0)
        self.found.form = self._form()

    def _form(self) -> str:
        version = self._manager.core.client.description(DEPLOYMENT).model_version
        return version.partition("+")[2] or EAGER.name

    def one_round(self, busy: BusyDevice) -> None:
        with busy.watched(self.found.busy):
            fed = [json.loads(feeder.communicate()[0]) for feeder in self._feeders()]
        self.found.engine.append(sum(each["windows_per_s"] for each in fed))
        self.found.errors += sum(each["errors"] for each in fed)
        self.found.bare.append(self._bare())

    def _feeders(self) -> list[subprocess.Popen[str]]:
        options = self._options
        asked = ["--frames", str(self._frames), "--at-once", str(2 * options.batch), "--seconds", str(options.seconds)]
        command = [sys.executable, "-m", "benchmarks.gpu_feeder", DEPLOYMENT, *asked]
        return [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(options.feeders)]

    def _bare(self) -> float:
        options = self._options
        folders = sorted(path.parent for path in Path(os.environ[_name("STATE_DIR")]).glob("tuning/*/result.json"))
        asked = ["--device", options.device, "--workload", self._workload.name, "--form", self.found.form]
        asked += ["--folder", str(folders[-1])] if folders else []
        sizes = ["--batch", str(options.batch), "--seconds", str(options.seconds)]
        command = [sys.executable, "-m", "benchmarks.gpu_bare", *asked, *sizes]
        ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        return float(json.loads(ended.stdout)["windows_per_s"])


def run_one(precision: str, options: argparse.Namespace) -> Found:
    settings = {
        "DEVICES": options.device, "MAX_BATCH_SIZE": str(options.batch), "PRECISION": precision,
        "LANE_SLOTS": str(4 * options.batch), "TUNING": "on" if options.wait else "off",
    }
    with tempfile.TemporaryDirectory(prefix="ns-bench-") as folder:
        places = {"RUNTIME_DIR": f"{folder}/run", "STATE_DIR": f"{folder}/state"}
        os.environ.update({_name(name): value for name, value in {**settings, **places}.items()})
        with SyncModelServingManager() as manager:
            course = Course(manager, WORKLOADS[options.workload], options)
            course.deploy()
            for number in range(options.rounds):
                print(f"{precision}, {course.found.form}: round {number + 1}", file=sys.stderr, flush=True)
                course.one_round(BusyDevice(options.device))
    return course.found


def _name(setting: str) -> str:
    return f"NIGHTSCAN_OPTIMIZED_SERVING__{setting}"


def is_there(device: str) -> bool:
    """Asked in a process of its own: this one starts others, and holds no device."""
    code = f"import sys, torch; sys.exit(not ({device == 'cpu'} or torch.cuda.is_available()))"
    return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def print_table(rows: dict[str, Found]) -> None:
    print("precision  form                  engine/s   bare/s  engine/bare  busy %  errors  x the first")
    first = statistics.median(next(iter(rows.values())).engine)
    for precision, found in rows.items():
        engine, bare = statistics.median(found.engine), statistics.median(found.bare)
        ratio = statistics.median(ours / theirs for ours, theirs in zip(found.engine, found.bare))
        busy = f"{statistics.median(found.busy):6.1f}" if found.busy else "     -"
        print(
            f"{precision:9s}  {found.form:20s} {engine:9.0f} {bare:8.0f} {ratio:12.2f}  {busy}  {found.errors:6d}"
            f"  {engine / first:11.2f}"
        )


def main() -> int:
    options = parse_arguments()
    if not is_there(options.device):
        print(f"torch sees no {options.device} here: nothing was measured", file=sys.stderr)
        return 1
    adopt_orphans()
    print_table({precision: run_one(precision, options) for precision in options.precision})
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--workload", default="resnet", choices=list(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--feeders", type=int, default=4)
    parser.add_argument("--precision", nargs="+", default=["fp32", "auto"])
    parser.add_argument("--wait", type=float, default=300.0, help="seconds for tuning; 0: off")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
