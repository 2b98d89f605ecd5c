"""Spools become rows of the archive, each once, whatever is killed when."""

from __future__ import annotations

import contextlib
import resource
import sqlite3
from pathlib import Path

import pytest

from engine.core.retention import RetentionPolicy
from engine.errors import StoreUnavailable
from engine.stores.archive import Archive
from engine.stores.archive_schema import connect, damaged, database_path
from engine.stores.journal_record import HEAD_BYTES, encode
from engine.stores.mover import Mover
from engine.stores.spool import JournalWriter, spool_dir
from tests.stores.journal_parts import (
    FOR_EVER,
    Counts,
    killed_at,
    move_all,
    row_of,
    stored_files,
    write,
)

MOVE = """
import sys
from pathlib import Path
from tests.stores.journal_parts import move_all
move_all(Path(sys.argv[1]))
"""
MADE = """
import sys
from pathlib import Path
from tests.stores.journal_parts import write
write(Path(sys.argv[1]), ["night.wav"])
"""
FILES = [f"{number}.wav" for number in range(30)]


def spools(state_dir: Path) -> list[Path]:
    return sorted(spool_dir(state_dir).iterdir())


def test_rows_arrive_in_order_and_the_spool_goes(tmp_path: Path) -> None:
    counts = Counts()
    write(tmp_path, FILES)
    move_all(tmp_path, counts)
    assert stored_files(tmp_path) == FILES and counts == {"journal.stored": 30} and spools(tmp_path) == []
    move_all(tmp_path)
    assert stored_files(tmp_path) == FILES


@pytest.mark.parametrize("point", ["move.read", "move.stored", "move.removed"])
def test_a_mover_that_is_killed_loses_and_repeats_nothing(tmp_path: Path, point: str) -> None:
    write(tmp_path, FILES[:10])
    killed_at(point, MOVE, str(tmp_path))
    write(tmp_path, FILES[10:])
    killed_at(point, MOVE, str(tmp_path))
    move_all(tmp_path)
    assert sorted(stored_files(tmp_path)) == sorted(FILES) and spools(tmp_path) == []
    archive = Archive.open(tmp_path)
    assert archive.positions() == {}
    archive.close()


def test_a_writer_that_is_killed_before_its_file_is_its_own_leaves_nothing(tmp_path: Path) -> None:
    killed_at("spool.made", MADE, str(tmp_path))
    assert len(spools(tmp_path)) == 1
    move_all(tmp_path)
    assert spools(tmp_path) == [] and stored_files(tmp_path) == []


def test_a_file_that_is_being_written_stays(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, Counts(), max_bytes=1 << 30)
    mover = Mover(tmp_path, FOR_EVER, Counts(), is_sent=False)
    for number in range(5):
        writer.record(row_of(writer, f"{number}"))
        assert not mover.move()
        assert stored_files(tmp_path) == [f"{done}" for done in range(number + 1)] and len(spools(tmp_path)) == 1
    writer.close()
    mover.move()
    assert spools(tmp_path) == []
    mover.close()


def test_the_last_record_of_a_dead_writer_may_be_half(tmp_path: Path) -> None:
    counts = Counts()
    write(tmp_path, FILES[:3])
    (spool,) = spools(tmp_path)
    spool.write_bytes(spool.read_bytes()[:-7])
    move_all(tmp_path, counts)
    move_all(tmp_path, counts)
    assert stored_files(tmp_path) == FILES[:2] and counts == {"journal.stored": 2, "journal.rejected": 1}
    assert spools(tmp_path) == []


def test_a_damaged_record_holds_up_none_behind_it(tmp_path: Path) -> None:
    counts = Counts()
    write(tmp_path, FILES[:3])
    (spool,) = spools(tmp_path)
    data = bytearray(spool.read_bytes())
    data[HEAD_BYTES + 5] ^= 1
    spool.write_bytes(data)
    move_all(tmp_path, counts)
    assert stored_files(tmp_path) == FILES[1:3] and counts == {"journal.stored": 2, "journal.rejected": 1}


def test_two_movers_of_one_folder_store_nothing_twice(tmp_path: Path) -> None:
    """The lock keeps them apart; this is for when somebody has removed it."""
    movers = [Mover(tmp_path, FOR_EVER, Counts(), is_sent=False) for _ in range(2)]
    writer = JournalWriter(tmp_path, Counts(), max_bytes=1 << 30)
    for number in range(30):
        writer.record(row_of(writer, f"{number}.wav"))
        mover = movers[number % 2]
        with contextlib.suppress(StoreUnavailable):
            mover.move()
        mover.move()
    writer.close()
    for mover in movers:
        mover.close()
    assert stored_files(tmp_path) == FILES


def test_what_is_no_spool_is_let_alone(tmp_path: Path) -> None:
    write(tmp_path, FILES[:1])
    (spool_dir(tmp_path) / "notes.txt").write_text("mine")
    move_all(tmp_path)
    assert [path.name for path in spools(tmp_path)] == ["notes.txt"]


def test_a_long_backlog_is_moved_piece_by_piece(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, Counts(), max_bytes=1 << 30)
    record = encode(row_of(writer, "long"))
    spool_dir(tmp_path).mkdir()
    (spool_dir(tmp_path) / "long.spool").write_bytes(record * 10_000)
    mover = Mover(tmp_path, FOR_EVER, counts := Counts(), is_sent=False)
    assert mover.move() and 0 < counts["journal.stored"] < 10_000 and mover.waiting().rows > 1_000
    while mover.move():
        pass
    mover.move()
    assert counts["journal.stored"] == 10_000 and mover.waiting() == (0, 0.0) and spools(tmp_path) == []
    mover.close()


def test_what_is_sent_at_once_has_bounds(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    move_all(tmp_path)
    archive = Archive.open(tmp_path)
    assert len(archive.unsent(20, 1 << 30)) == 20
    (size,) = {len(record.body) for _, record in archive.unsent(10, 1 << 30)}
    assert len(archive.unsent(10, 3 * size)) == 3 and len(archive.unsent(10, 1)) == 1
    archive.close()


# --- what is kept ---------------------------------------------------------------------------------------------------


def aged(state_dir: Path, ages_days: list[float], now_s: float) -> None:
    writer = JournalWriter(state_dir, Counts(), max_bytes=1 << 40)
    for age in ages_days:
        writer.record(row_of(writer, f"{age:g}", answered_at=now_s - age * 86_400))
    writer.close()
    move_all(state_dir)


def test_rows_go_by_their_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.stores.mover.wall_clock_s", lambda: 2e9)
    aged(tmp_path, [0, 29.9, 30.1, 400], 2e9)
    mover = Mover(tmp_path, RetentionPolicy(30, 1 << 40), counts := Counts(), is_sent=False)
    assert mover.prune() and not mover.prune()
    assert stored_files(tmp_path) == ["0", "29.9"] and counts == {}
    mover.close()


def test_nothing_goes_by_its_age_where_rows_are_kept_for_ever(tmp_path: Path) -> None:
    aged(tmp_path, [0, 4000], 2e9)
    mover = Mover(tmp_path, FOR_EVER, Counts(), is_sent=False)
    assert not mover.prune()
    mover.close()
    assert stored_files(tmp_path) == ["0", "4000"]


@pytest.mark.parametrize("is_sent", [True, False])
def test_beyond_its_room_the_oldest_go_and_the_unsent_last_and_counted(tmp_path: Path, is_sent: bool) -> None:
    write(tmp_path, [f"{number:05}" for number in range(12_000)])
    move_all(tmp_path)
    archive = Archive.open(tmp_path)
    archive.mark_sent(6_000)
    half = archive.used_bytes() // 2
    mover = Mover(tmp_path, RetentionPolicy(0, half), counts := Counts(), is_sent=is_sent)
    while mover.prune():
        pass
    rows = archive.counts()["rows"]
    assert archive.used_bytes() <= half and 0 < rows <= 6_000
    assert stored_files(tmp_path)[-1] == "11999"
    assert counts["journal.lost"] == (6_000 - rows if is_sent else 0)
    mover.close()
    archive.close()


# --- what breaks ----------------------------------------------------------------------------------------------------


def test_a_damaged_archive_is_set_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    write(tmp_path, FILES[:3])
    move_all(tmp_path)
    database_path(tmp_path).write_bytes(b"no database, but long enough to be looked at" * 100)
    write(tmp_path, FILES[3:5])
    mover = Mover(tmp_path, FOR_EVER, Counts(), is_sent=False)
    with pytest.raises(sqlite3.DatabaseError):
        mover.move()
    mover.move()
    mover.close()
    assert stored_files(tmp_path) == FILES[3:5] and len(damaged(tmp_path)) == 1


def test_an_archive_that_is_damaged_in_use_is_set_aside(tmp_path: Path) -> None:
    aged(tmp_path, [4000.0] * 3_000, 2e9)
    mover = Mover(tmp_path, RetentionPolicy(30, 1 << 40), Counts(), is_sent=False)
    with open(database_path(tmp_path), "r+b") as file:
        file.seek(20 * 4096)
        file.write(b"\xa5" * 4096 * 40)
    with pytest.raises(sqlite3.DatabaseError):
        while mover.prune():
            pass
    assert len(damaged(tmp_path)) == 1
    assert not mover.prune()
    mover.close()


def test_a_disk_that_is_full_keeps_rows_in_the_spool(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    mover = Mover(tmp_path, FOR_EVER, counts := Counts(), is_sent=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, hard))
    try:
        with pytest.raises(sqlite3.OperationalError):
            mover.move()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert counts == {} and len(spools(tmp_path)) == 1
    mover.move()
    mover.close()
    assert stored_files(tmp_path) == FILES and damaged(tmp_path) == []


def test_an_archive_of_a_later_version_is_let_alone(tmp_path: Path) -> None:
    connection = connect(database_path(tmp_path))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    write(tmp_path, FILES[:1])
    mover = Mover(tmp_path, FOR_EVER, Counts(), is_sent=False)
    with pytest.raises(StoreUnavailable, match="version 99"):
        mover.move()
    assert damaged(tmp_path) == [] and len(spools(tmp_path)) == 1


def test_an_archive_that_somebody_removed_is_begun_anew(tmp_path: Path) -> None:
    mover = Mover(tmp_path, FOR_EVER, Counts(), is_sent=False)
    write(tmp_path, FILES[:3])
    mover.move()
    for file in tmp_path.glob("journal.db*"):
        file.unlink()
    write(tmp_path, FILES[3:5])
    mover.move()
    mover.close()
    assert stored_files(tmp_path) == FILES[3:5]


def test_the_views_tell_what_a_body_holds(tmp_path: Path) -> None:
    writer = JournalWriter(tmp_path, Counts(), max_bytes=1 << 30)
    writer.record(row_of(writer, answered_at=1_700_000_000.25))
    writer.close()
    move_all(tmp_path)
    connection = connect(database_path(tmp_path))
    detections = connection.execute("SELECT * FROM detections").fetchall()
    answers = connection.execute("SELECT time, file, status, outcome, duration_s, priority FROM answers").fetchall()
    connection.close()
    time = "2023-11-14T22:13:20.250Z"
    assert detections == [
        (time, "night.wav", 0, 0.0, 8.0, "owl", 0.75, "r-1"),
        (time, "night.wav", 0, 0.0, 8.0, "fox", 0.25, "r-1"),
        (time, "night.wav", 1, 8.0, 16.0, "fox", 0.5, "r-1"),
        (time, "night.wav", 1, 8.0, 16.0, "owl", 0.5, "r-1"),
    ]
    assert answers == [(time, "night.wav", 200, "ok", 16.0, 0)]
