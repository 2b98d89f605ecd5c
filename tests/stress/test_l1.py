"""A hundred SIGKILLs while the cache is written: no wrong answer, and no arena that is not whole."""

from __future__ import annotations

import os
import random
import subprocess
import sys

from tests.shm.rig import ROOT

SEED = int(os.environ.get("NIGHTSCAN_STRESS_SEED", "0")) or random.randrange(1, 1 << 30)


def test_no_answer_is_wrong_whoever_is_killed_while_writing() -> None:
    print(f"NIGHTSCAN_STRESS_SEED={SEED}")
    command = [sys.executable, "-m", "tests.stress.l1", "--kills", "100", "--seed", str(SEED)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
    print(ended.stdout, ended.stderr)
    assert ended.returncode == 0
