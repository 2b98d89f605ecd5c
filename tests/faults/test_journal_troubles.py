"""A journal that cannot be written, or is damaged: answers go on, health says why, and recording goes on afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.conftest import MODEL, SETTING, WAYS
from tests.faults.recordings import Recordings
from tests.faults.store_rig import OPTIMIZED, health_of, stats_of, wait_reason
from tests.support.server import ServerProcess
from tests.support.wait import wait_for

RECORDINGS = Recordings(repeat_every=0)


@pytest.fixture(scope="module")
def process() -> Iterator[ServerProcess]:
    with ServerProcess(WAYS["fast lane"], environment=MODEL, ready="/ready") as process:
        yield process


def state_dir(process: ServerProcess) -> Path:
    return Path(process.environment[f"{SETTING}STATE_DIR"])


def answer(process: ServerProcess) -> None:
    assert process.fetch("POST", OPTIMIZED, next(RECORDINGS), Content_Type="audio/wav").status == 200


def stored(process: ServerProcess) -> int:
    return int(stats_of(process)["journal"]["stored"])


def test_figures_of_a_journal_that_is_moved(process: ServerProcess) -> None:
    answer(process)
    wait_for(lambda: stats_of(process)["journal"]["stored"] == 1, "the answer is in SQLite")
    wait_for(lambda: stats_of(process)["journal"]["backlog"] == 0, "nothing waits")
    told = stats_of(process)["journal"]
    assert (told["backend"], told["recorded"], told["oldest_s"], told["sent"]) == ("sqlite", 1, 0.0, None)


def test_a_damaged_archive_is_set_aside_told_and_followed_by_another(process: ServerProcess) -> None:
    path, before = state_dir(process) / "journal.db", stored(process)
    broken = path.with_name("broken")
    broken.write_bytes(b"no database at all" * 500)
    for suffix in ("-wal", "-shm"):  # which would mend it
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    broken.replace(path)
    answer(process)
    wait_reason(process, "a damaged journal.db was set aside")
    answer(process)
    wait_for(lambda: stored(process) >= before + 2, "what came after it is stored")
    (aside,) = path.parent.glob("journal.db.*.damaged")
    aside.unlink()
    wait_for(lambda: health_of(process)["status"] == "healthy", "nothing is left of it")


def test_without_a_place_for_records_answers_go_on_and_are_counted_as_lost(process: ServerProcess) -> None:
    spools = state_dir(process) / "spool"
    shutil.rmtree(spools)
    spools.write_text("in the way")

    def lost() -> bool:
        answer(process)
        return bool(stats_of(process)["journal"]["lost"])

    wait_for(lost, "a record is lost")
    wait_reason(process, "the journal cannot be written")
    spools.unlink()

    def recorded_again() -> bool:
        before = stats_of(process)["journal"]["recorded"]
        answer(process)
        return bool(stats_of(process)["journal"]["recorded"] > before)

    wait_for(recorded_again, "answers are recorded again")
    wait_for(lambda: health_of(process)["status"] == "healthy", "all is well")
