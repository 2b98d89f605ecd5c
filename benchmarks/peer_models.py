"""The "tiny" and "resnet" workloads: somebody else's waveform models, served through `model_factory`.

The models, weights and inputs are those of the rivals' comparison kit, so that every server computes the same thing.
`factory` functions run inside the instance; `ensure_data` makes inputs, weights and expected answers once.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

PEERS_DIR = Path(os.environ.get("NIGHTSCAN_PEERS", Path(__file__).resolve().parents[2] / "shared" / "peers"))
DATA_HOME = Path(os.environ.get("NIGHTSCAN_BENCH_DATA", Path.home() / ".cache" / "nightscan-bench"))


@dataclass(frozen=True)
class Workload:
    """One model with its one request body."""

    name: str
    sample_rate_hz: int
    segment_s: float

    @property
    def body(self) -> bytes:
        return (DATA_HOME / "data" / f"{self.name}.wav").read_bytes()

    @property
    def expected(self) -> list[dict[str, Any]]:
        """The top classes as the rivals answer them: `label`, `score`, best first."""
        answers = json.loads((DATA_HOME / "data" / "expected.json").read_text())
        found: list[dict[str, Any]] = answers[self.name]["topk"]
        return found

    def environment(self) -> dict[str, str]:
        """The settings that make the engine serve this model."""
        settings = {
            "MODEL_FACTORY": f"benchmarks.peer_models:{self.name}",
            "MODEL_LABELS": str(DATA_HOME / "labels.json"),
            "SAMPLE_RATE_HZ": str(self.sample_rate_hz),
            "SEGMENT_S": str(self.segment_s),
            "SEGMENTATION": "fixed",
            "PEAK_NORMALISE": "false",
        }
        return {f"NIGHTSCAN_OPTIMIZED_SERVING__{name}": value for name, value in settings.items()}


WORKLOADS = {w.name: w for w in (Workload("tiny", 16_000, 1.0), Workload("resnet", 22_050, 8.0))}


def ensure_data() -> None:
    """Makes inputs, weights and expected answers with the kit's own script, once; several callers may at once.

    Raises CalledProcessError when the script fails.
    """
    if (DATA_HOME / "labels.json").exists():
        return
    DATA_HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".making-", dir=DATA_HOME) as folder:
        for name in ("data", "models"):
            (Path(folder) / name).mkdir()
        script = str(PEERS_DIR / "common" / "make_data.py")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PEER_")}
        environment |= {"PEERS_HOME": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        subprocess.run(
            [sys.executable, "-c", _IN_NO_TIME, script], env=environment, check=True, stdout=subprocess.DEVNULL
        )
        (Path(folder) / "labels.json").write_text(json.dumps([f"class_{i}" for i in range(10)]))
        for name in ("data", "models", "labels.json"):  # the labels last: who sees them finds the rest
            with contextlib.suppress(OSError):  # somebody else was faster, and has made the same
                (Path(folder) / name).rename(DATA_HOME / name)


# The script also measures its models for seconds each, which nobody reads here: a clock that gains a second whenever
# it is read ends each measurement after one round, and changes nothing that the script writes.
_IN_NO_TIME = """\
import itertools, runpy, sys, time
time.perf_counter = itertools.count().__next__
runpy.run_path(sys.argv[1], run_name="__main__")
"""


def tiny() -> torch.nn.Module:
    """32 KB of sound to 10 numbers in 0.2 ms: shows what serving costs."""
    return _module("tiny")


def resnet() -> torch.nn.Module:
    """A log-mel ResNet18: 31 ms on one core."""
    return _module("resnet")


def _module(name: str) -> torch.nn.Module:
    sys.path.insert(0, str(PEERS_DIR / "common"))
    common = importlib.import_module("peer_common")
    module: torch.nn.Module = common.ARCH[name]()
    module.load_state_dict(torch.load(DATA_HOME / "models" / f"{name}.pt", weights_only=True))
    return module.eval()
