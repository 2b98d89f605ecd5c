"""Two instances that have nothing to do share the windows of a recording, where that is sooner done."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from engine.config import cores_of
from tests.conformance import sounds
from tests.serving.models import Run, runs_in, watched
from tests.serving.servers import ROUTES, address_of, server, version_of
from tests.support.wait import wait_for

OPTIMIZED, _ = ROUTES
SETTINGS = {
    "model_factory": "tests.serving.models:each_takes", "model_pool_size": 2, "model_warmup_requests": 4,
    "max_batch_size": 4, "devices": "cpu", "instance_threads": 1, "workers": 1,
    "sample_rate_hz": 8000, "segment_s": 0.5, "overlap_s": 0.0, "segmentation": "fixed",
}  # fmt: skip


@pytest.mark.skipif(cores_of().count < 2, reason="a pool on one core has one instance")
def test_the_windows_of_a_recording_are_shared_by_idle_instances(tmp_path: Path) -> None:
    with server(SETTINGS, **watched(tmp_path, takes_s=0.05)) as process:
        wait_for(lambda: version_of(process)["ready"] == 2, "both instances serve")
        pids = {run.pid for run in runs_in(tmp_path / "notes")}
        assert len(pids) == 2

        def have_measured() -> bool:
            runs = Counter((run.pid, run.batch_size) for run in runs_in(tmp_path / "notes"))
            return all(runs[pid, size] >= 4 for pid in pids for size in (1, 2, 4))

        def ask() -> list[Run]:
            before = len(runs_in(tmp_path / "notes"))
            assert address_of(process).upload(OPTIMIZED, sounds.wav(sounds.tone(1.0))).status == 200
            return runs_in(tmp_path / "notes")[before:]

        def share() -> bool:
            found = ask()
            return [run.batch_size for run in found] == [1, 1] and {run.pid for run in found} == pids

        wait_for(have_measured, "both know what batches take")
        wait_for(share, "one window each")
