"""Drives one server with the generator, in a process of its own, and reads what it cost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.generator import Load
from benchmarks.processes import cpu_s, own_descendants, pss_mb

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Measurement:
    """One run of one server at one concurrency."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_ms_per_request: float
    pss_mb: float


def measure(
    url: str,
    body_files: Sequence[Path],
    *,
    concurrency: int,
    seconds: int,
    same: bool = False,
    envelope: str = "raw",
) -> Measurement:
    """Loads `url`, which everything below this process serves, for `seconds`; `same`: with nothing but repetitions."""
    asked = ["--envelope", envelope, *(["--same"] if same else [])]
    generator = _generator(url, body_files, *asked, concurrency=concurrency, seconds=seconds)
    servers = own_descendants(but=generator.pid)
    before_s = cpu_s(servers)
    output, _ = generator.communicate()
    used_s = cpu_s(servers) - before_s
    found = Load(**json.loads(output))
    return Measurement(
        requests_per_s=found.answers / found.duration_s,
        p50_ms=found.p50_ms,
        p99_ms=found.p99_ms,
        errors=sum(found.errors.values()),
        cpu_ms_per_request=1e3 * used_s / max(1, found.answers),
        pss_mb=pss_mb(servers),
    )


def load(url: str, body_files: Sequence[Path], *, concurrency: int, seconds: int) -> Load:
    """Only loads `url`, for `seconds`."""
    output, _ = _generator(url, body_files, concurrency=concurrency, seconds=seconds).communicate()
    return Load(**json.loads(output))


def _generator(
    url: str, body_files: Sequence[Path], *asked: str, concurrency: int, seconds: int
) -> subprocess.Popen[str]:
    options = ["--connections", str(concurrency), "--seconds", str(seconds), *asked]
    command = [sys.executable, "-m", "benchmarks.generator", url, *map(str, body_files), *options]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
