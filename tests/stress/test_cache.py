"""SIGKILLs while the cache is written and while others wait for an answer: nobody gets a wrong one, or none."""

from __future__ import annotations

import os
import random
import subprocess
import sys

import pytest

from tests.shm.rig import ROOT

SEED = int(os.environ.get("NIGHTSCAN_STRESS_SEED", "0")) or random.randrange(1, 1 << 30)


@pytest.mark.parametrize(("program", "kills"), [("l1", 100), ("flights", 60)])
def test_nothing_is_wrong_whoever_is_killed_meanwhile(program: str, kills: int) -> None:
    print(f"NIGHTSCAN_STRESS_SEED={SEED}")
    command = [sys.executable, "-m", f"tests.stress.{program}", "--kills", str(kills), "--seed", str(SEED)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    print(ended.stdout, ended.stderr)
    assert ended.returncode == 0
