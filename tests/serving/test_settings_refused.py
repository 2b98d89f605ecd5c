"""A setting that is not understood stops the start: one line that names it, and nothing left running."""

from __future__ import annotations

import json
import os
import sys
import uuid
from pathlib import Path

import pytest

from tests.serving.servers import GUNICORN, SETTING, run_to_its_end
from tests.support.server import ROOT, TOKEN, processes_with

STARTERS = {
    "gunicorn": [sys.executable, "-m", "gunicorn", *GUNICORN],
    "nightscan serve": [sys.executable, "-m", "frontend.cli.main", "serve"],
}
WRONG = {
    "an unknown name": (
        {f"{SETTING}MAX_BATCH_SIZ": "4"},
        f"unknown setting {SETTING}MAX_BATCH_SIZ (environment); did you mean {SETTING}MAX_BATCH_SIZE?",
    ),
    "out of range": (
        {f"{SETTING}WORKER_THREADS": "0"},
        f"worker_threads=0 (environment {SETTING}WORKER_THREADS): must be a whole number from 1 to 256",
    ),
    "of another type": (
        {f"{SETTING}ENABLED": "perhaps"},
        f"enabled=perhaps (environment {SETTING}ENABLED): must be true or false",
    ),
    "in the file": (
        {"NIGHTSCAN_CONFIG": "config.json"},
        "request_queue_size=-1 (file config.json): must be a whole number from 1 to 1000000",
    ),
}


@pytest.mark.parametrize("starter", STARTERS)
@pytest.mark.parametrize("wrong", WRONG)
def test_the_start_is_refused(starter: str, wrong: str, tmp_path: Path, runtime_dir: Path) -> None:
    given, line = WRONG[wrong]
    (tmp_path / "config.json").write_text(json.dumps({"optimized_serving": {"request_queue_size": -1}}))
    token = uuid.uuid4().hex
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTSCAN")}
    environment |= {TOKEN: token, "PYTHONPATH": str(ROOT), f"{SETTING}RUNTIME_DIR": str(runtime_dir / "run"), **given}
    code, told = run_to_its_end(STARTERS[starter], environment, tmp_path)
    assert code != 0
    assert told == f"nightscan: {line}\n"
    assert not processes_with(token) and not (runtime_dir / "run").exists()
