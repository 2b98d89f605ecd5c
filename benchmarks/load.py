"""Drives one server with wrk and reads what it cost."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import cpu_s, descendants, pss_mb

SCRIPT = Path(__file__).with_name("post.lua")


@dataclass(frozen=True)
class Measurement:
    """One run of one server at one concurrency."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    cpu_ms_per_request: float
    pss_mb: float


def measure(url: str, body_file: Path, *, concurrency: int, seconds: int) -> Measurement:
    """Runs wrk for `seconds` against `url`, which everything below this process serves."""
    command = ["wrk", "-t1", f"-c{concurrency}", f"-d{seconds}s", "--timeout", "60s", "-s", str(SCRIPT), url]
    wrk = subprocess.Popen(command, env={**os.environ, "WRK_BODY": str(body_file)}, stdout=subprocess.PIPE, text=True)
    servers = descendants(but=wrk.pid)
    before_s = cpu_s(servers)
    output, _ = wrk.communicate()
    used_s = cpu_s(servers) - before_s
    found = re.search(r"WRKJSON (\{.*\})", output)
    assert found, f"wrk printed no figures: {output}"
    row = json.loads(found[1])
    good = row["requests"] - row["status"]
    return Measurement(
        requests_per_s=good / (row["duration_us"] / 1e6),
        p50_ms=row["p50_us"] / 1e3,
        p99_ms=row["p99_us"] / 1e3,
        errors=sum(row[kind] for kind in ("connect", "read", "write", "status", "timeout")),
        cpu_ms_per_request=1e3 * used_s / max(1, good),
        pss_mb=pss_mb(servers),
    )
