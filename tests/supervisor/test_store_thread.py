"""The threads that move the journal: beside the loop, guarded, one mover for each folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.config import load_settings
from engine.shm.process_row import ProcessRow
from engine.stores.archive_schema import connect, damaged, database_path
from engine.stores.journal_access import JOURNAL_LOCK, mover_pid, try_lock
from engine.stores.spool import JournalWriter, spool_dir
from engine.supervisor.loop import Loop
from engine.supervisor.store_thread import StoreThread
from tests.stores.journal_parts import Counts, killed_at, row_of, stored_files, write
from tests.support.wait import wait_for

MOVE_IN_THREAD = """
import sys
from pathlib import Path
from engine.config import load_settings
from engine.shm.process_row import ProcessRow
from engine.supervisor.loop import Loop
from engine.supervisor.store_thread import StoreThread
settings = load_settings({}).changed(state_dir=sys.argv[1])
loop = Loop()
StoreThread.of(loop, settings, ProcessRow.private()).start()
loop.call_after(30.0, loop.stop)
loop.run()
"""


class Moved:
    """A store thread with the loop that it reports to."""

    def __init__(self, state_dir: Path) -> None:
        self.loop = Loop()
        self.row = ProcessRow.private()
        self.thread = StoreThread.of(self.loop, load_settings({}).changed(state_dir=str(state_dir)), self.row)
        self.thread.start()

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Runs the loop until it holds."""

        def looked() -> object:
            self.loop.run_once(0.02)
            return condition()

        wait_for(looked, what, step_s=0.0)

    @property
    def troubles(self) -> dict[str, str]:
        return {each.step: each.error for each in self.loop.guard.health.troubles()}

    def close(self) -> None:
        self.thread.close()
        self.row.close()
        self.loop.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.supervisor.store_thread._TEND_EVERY_S", 0.05)


@pytest.fixture
def moved(tmp_path: Path) -> Iterator[Moved]:
    with closing(Moved(tmp_path)) as made:
        yield made


def test_what_is_recorded_is_soon_on_the_disk(moved: Moved, tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, Counts(), max_bytes=1 << 30)
    for number in range(3):
        writer.record(row_of(writer, str(number)))
        moved.until(lambda: moved.row.get("journal.stored") == number + 1, "the row to be stored")
    writer.close()
    moved.until(lambda: not list(spool_dir(tmp_path).iterdir()), "the spool to go")
    assert stored_files(tmp_path) == ["0", "1", "2"] and moved.troubles == {}
    assert moved.row.get("journal.backlog") == 0


def test_the_end_moves_what_there_is(tmp_path: Path) -> None:
    moved = Moved(tmp_path)
    moved.until(lambda: mover_pid(tmp_path), "it to have the lock")
    write(tmp_path, ["last"])
    moved.close()
    assert stored_files(tmp_path) == ["last"] and mover_pid(tmp_path) == 0
    lock = try_lock(tmp_path)
    assert lock is not None
    lock.release()


def test_one_engine_moves_the_journal_of_all_that_share_the_folder(tmp_path: Path) -> None:
    first = Moved(tmp_path)
    first.until(lambda: mover_pid(tmp_path), "the first to have the lock")
    with closing(Moved(tmp_path)) as second:
        write(tmp_path, ["a"])
        first.until(lambda: first.row.get("journal.stored") == 1, "the first to move")
        first.close()
        write(tmp_path, ["b"])
        second.until(lambda: second.row.get("journal.stored") == 1, "the second to go on")
        assert first.troubles == second.troubles == {}
    assert stored_files(tmp_path) == ["a", "b"]


def test_a_lock_that_was_removed_and_taken_by_another_is_given_up(moved: Moved, tmp_path: Path) -> None:
    moved.until(lambda: mover_pid(tmp_path), "it to have the lock")
    while True:
        (tmp_path / JOURNAL_LOCK).unlink(missing_ok=True)
        if (other := try_lock(tmp_path)) is not None:
            break  # not made anew by it in between
    with contextlib.ExitStack() as stack:
        stack.callback(other.release)
        moved.until(lambda: "journal.lock" in moved.troubles, "it to notice")
        write(tmp_path, ["a"])
        moved.until(lambda: not moved.troubles, "it to wait for the other")
        assert list(spool_dir(tmp_path).iterdir())
    moved.until(lambda: moved.row.get("journal.stored") == 1, "it to go on after the other")


def test_a_damaged_archive_is_told_for_as_long_as_it_lies_there(tmp_path: Path) -> None:
    database_path(tmp_path).write_bytes(b"nothing of a database" * 400)
    write(tmp_path, ["a"])
    with closing(Moved(tmp_path)) as moved:
        moved.until(lambda: moved.row.get("journal.stored") == 1, "another to be begun")
        moved.until(lambda: "journal.tend" in moved.troubles, "it to be told")
        (told,) = damaged(tmp_path)
        assert str(told) in moved.troubles["journal.tend"] and stored_files(tmp_path) == ["a"]
        told.unlink()
        moved.until(lambda: not moved.troubles, "it to be well")


def test_an_archive_of_a_later_version_is_a_trouble(tmp_path: Path) -> None:
    connection = connect(database_path(tmp_path))
    connection.execute("PRAGMA user_version = 99")
    write(tmp_path, ["a"])
    with closing(connection), closing(Moved(tmp_path)) as moved:
        moved.until(lambda: "version 99" in moved.troubles.get("journal.move", ""), "the trouble")
        moved.until(lambda: moved.row.get("journal.backlog") == 1, "the backlog to be told")
        assert moved.row.get("journal.oldest_at_ms") > 0
        connection.execute("PRAGMA user_version = 1")
        moved.until(lambda: moved.row.get("journal.stored") == 1, "the row to be stored")
        moved.until(lambda: not moved.troubles, "it to be over")


def test_a_folder_that_cannot_be_made_is_a_trouble(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    with closing(Moved(tmp_path / "state")) as moved:
        moved.until(lambda: "journal.lock" in moved.troubles, "the trouble")
        (tmp_path / "state").unlink()
        moved.until(lambda: not moved.troubles, "it to be over")
        write(tmp_path / "state", ["a"])
        moved.until(lambda: moved.row.get("journal.stored") == 1, "the row to be stored")


@pytest.mark.parametrize("point", ["move.read", "move.stored", "move.removed"])
def test_a_supervisor_that_is_killed_while_it_moves_has_a_successor(tmp_path: Path, point: str) -> None:
    write(tmp_path, ["a", "b"])
    killed_at(point, MOVE_IN_THREAD, str(tmp_path))
    with closing(Moved(tmp_path)) as moved:
        write(tmp_path, ["c"])
        moved.until(lambda: not list(spool_dir(tmp_path).iterdir()), "all spools to go")
    assert stored_files(tmp_path) == ["a", "b", "c"]
