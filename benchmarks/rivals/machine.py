"""What the figures were measured on and with."""

from __future__ import annotations

import datetime
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.rivals.environments import Environments
from benchmarks.rivals.plans import BASE, OURS, PLANS, ROOT
from engine.config import cores_of


def about(arguments: Sequence[str], plans: Iterable[str], environments: Environments) -> dict[str, str]:
    """Date, processor, command and releases, for a reader."""
    return {
        "date": datetime.datetime.now(tz=datetime.timezone.utc).date().isoformat(),
        "processor": f"{processor()}, {cores_of()}, no GPU used",
        "system": f"Linux {platform.release()}, Python {platform.python_version()}",
        "releases": ", ".join(_release(name) for name in dict.fromkeys((BASE, *plans)) if name != OURS),
        "commit": _commit(),
        "command": shlex.join(["python", "benchmarks/compare.py", *arguments]),
    }


def processor() -> str:
    """Its name as Linux has it, with the instruction sets that decide how fast a network is."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    fields = {name.strip(): value.strip() for name, found, value in (line.partition(":") for line in lines) if found}
    named = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8") if flag in _flags(fields)]
    return " ".join([fields.get("model name", platform.machine()), f"({', '.join(named)})" if named else ""]).strip()


def _flags(fields: dict[str, str]) -> list[str]:
    return fields.get("flags", "").split()


def _release(plan: str) -> str:
    return PLANS[plan].requirements[0].replace("==", " ")


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired) as error:
        print(f"no commit: {error}", file=sys.stderr)
        return "unknown"
    return done.stdout.strip() or "unknown"
