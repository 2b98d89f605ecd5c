"""What a manager answers is a row of the journal, as over HTTP: answers and failures of ours, no refusals."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.manager import OptimizedModelServingManager, SyncModelServingManager
from engine.stores.journal_access import archive_of
from engine.stores.journal_record import JournalRow
from tests.manager.conftest import OPTIONS, clean_settings
from tests.manager.models import FRAMES, echo


@pytest.fixture
def manager(engine_dir: Path, tmp_path: Path) -> Iterator[SyncModelServingManager]:
    """One with a journal of its own; what it deploys is taken out of service."""
    with SyncModelServingManager(clean_settings(engine_dir, state_dir=str(tmp_path))) as made:
        assert made.deploy_optimized_model("owls", echo(), **OPTIONS)
        yield made
        made.undeploy_optimized_model("owls")


def rows(state_dir: Path) -> list[JournalRow]:
    with archive_of(state_dir) as archive:
        return list(archive.rows(0.0, 1e12))


def test_each_answer_of_either_manager_is_a_row(manager: SyncModelServingManager, tmp_path: Path) -> None:
    sound = np.arange(FRAMES, dtype=np.float32)
    first = manager.predict("owls", sound, priority=7)
    both = OptimizedModelServingManager(core=manager.core)
    second = asyncio.run(both.predict_async("owls", sound, priority=math.inf))  # type: ignore[arg-type]
    found = rows(tmp_path)
    assert [row.request_id for row in found] == [first["request_id"], second["request_id"]]
    for row, answer in zip(found, (first, second)):
        (segment,) = row.segments
        assert segment[3] == tuple((each["label"], each["probability"]) for each in answer["top_predictions"])
        assert (row.route, row.status, row.outcome, row.deployment) == ("predict", 200, "ok", "owls")
        assert row.model_version and row.latency_s >= answer["latency"]
    assert [row.priority for row in found] == [7, 100]


def test_what_we_fail_at_is_a_row_and_what_is_refused_is_not(manager: SyncModelServingManager, tmp_path: Path) -> None:
    sound = np.full(FRAMES, np.nan, np.float32)
    failed = manager.predict("owls", sound, request_id="failed")
    late = manager.predict("owls", sound, request_id="late", timeout=0)
    for refused in ("no sound", np.zeros(FRAMES + 1, np.float32)):
        assert "error" in manager.predict("owls", refused)
    assert "error" in manager.predict("nobody", sound)
    found = [(row.request_id, row.status, row.outcome, row.error_code) for row in rows(tmp_path)]
    assert found == [("failed", 500, "error", failed["code"]), ("late", 504, "error", late["code"])]
