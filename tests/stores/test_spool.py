"""Spools: one per process, complete when nobody can write them any more, and never in the way of an answer."""

from __future__ import annotations

import logging
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.stores.spool import JournalWriter, spool_dir, spooled_bytes
from engine.stores.spool_reader import SpoolReader
from tests.stores.journal_parts import Counts, row_of, run_program

RECORD_AND_DIE = """
import os, signal, sys
from pathlib import Path
from engine.stores.spool import JournalWriter
from tests.stores.journal_parts import Counts, row_of
writer = JournalWriter(Path(sys.argv[1]), Counts(), max_bytes=1 << 40)
for number in range(int(sys.argv[2])):
    writer.record(row_of(writer, f"{sys.argv[3]}-{number}"))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
def writer(tmp_path: Path, counts: Counts) -> Iterator[JournalWriter]:
    made = JournalWriter(tmp_path, counts, max_bytes=1 << 30)
    yield made
    made.close()


def read_all(state_dir: Path) -> list[str]:
    reader = SpoolReader(spool_dir(state_dir))
    return [record.to_row().file for file in reader.files() for record in reader.read(file.name, 0).records]


def test_rows_are_there_as_soon_as_they_are_recorded(tmp_path: Path, writer: JournalWriter, counts: Counts) -> None:
    rows = [row_of(writer, f"{number}.wav") for number in range(5)]
    for row in rows:
        assert writer.record(row)
    reader = SpoolReader(spool_dir(tmp_path))
    (file,) = reader.files()
    records, end, damaged = reader.read(file.name, 0)
    assert [record.to_row() for record in records] == rows
    assert (end, damaged) == (file.size, 0) and counts == {"journal.recorded": 5}


def test_nobody_else_may_read_them(tmp_path: Path, writer: JournalWriter) -> None:
    writer.record(row_of(writer))
    (file,) = spool_dir(tmp_path).iterdir()
    assert (file.stat().st_mode & 0o777, spool_dir(tmp_path).stat().st_mode & 0o777) == (0o600, 0o700)


def test_ids_are_never_given_twice(tmp_path: Path) -> None:
    writers = [JournalWriter(tmp_path, Counts(), max_bytes=1) for _ in range(20)]
    ids = [writer.next_key()[1] for writer in writers for _ in range(50)]
    assert len(set(ids)) == 1000 and {len(bytes.fromhex(id)) for id in ids} == {16}


def test_a_file_is_complete_once_its_writer_is_closed_or_dead(tmp_path: Path, writer: JournalWriter) -> None:
    reader = SpoolReader(spool_dir(tmp_path))
    writer.record(row_of(writer))
    (file,) = reader.files()
    with reader.complete(file.name) as size:
        assert size == -1
    writer.close()
    with reader.complete(file.name) as size:
        assert size == file.size
    reader.remove(file.name)
    assert run_program(RECORD_AND_DIE, str(tmp_path), "3", "dead").returncode == -signal.SIGKILL
    (file,) = reader.files()
    with reader.complete(file.name) as size:
        assert size == file.size
    assert read_all(tmp_path) == ["dead-0", "dead-1", "dead-2"]


def test_a_full_file_is_followed_by_another(tmp_path: Path, counts: Counts) -> None:
    writer = JournalWriter(tmp_path, counts, max_bytes=1 << 30, rotate_bytes=2_000)
    for number in range(20):
        writer.record(row_of(writer, f"{number:02}"))
    writer.close()
    assert len(SpoolReader(spool_dir(tmp_path)).files()) > 2
    assert sorted(read_all(tmp_path)) == [f"{number:02}" for number in range(20)]


def test_threads_of_one_process_write_whole_records(tmp_path: Path, counts: Counts) -> None:
    writer = JournalWriter(tmp_path, counts, max_bytes=1 << 30, rotate_bytes=20_000)

    def record(name: int) -> None:
        for number in range(100):
            writer.record(row_of(writer, f"{name}-{number}"))

    threads = [threading.Thread(target=record, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    assert sorted(read_all(tmp_path)) == sorted(f"{name}-{number}" for name in range(4) for number in range(100))


def test_a_forked_child_writes_a_file_of_its_own(tmp_path: Path, writer: JournalWriter) -> None:
    writer.record(row_of(writer, "parent"))
    child = os.fork()
    if not child:
        os._exit(0 if writer.record(row_of(writer, "child")) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    writer.record(row_of(writer, "parent"))
    reader = SpoolReader(spool_dir(tmp_path))
    found = {}
    for file in reader.files():
        with reader.complete(file.name) as size:
            found[size >= 0] = [record.to_row().file for record in reader.read(file.name, 0).records]
    assert found == {True: ["child"], False: ["parent", "parent"]}
    ids = {record.id for file in reader.files() for record in reader.read(file.name, 0).records}
    assert len(ids) == 3


def test_a_child_that_lives_keeps_no_file_of_its_dead_parent(tmp_path: Path) -> None:
    program = """
import os, sys, signal
from pathlib import Path
from engine.stores.spool import JournalWriter
from tests.stores.journal_parts import Counts, row_of
writer = JournalWriter(Path(sys.argv[1]), Counts(), max_bytes=1 << 40)
writer.record(row_of(writer))
if not os.fork():
    print("child", flush=True)
    os.read(int(sys.argv[2]), 1)
    os._exit(0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), str(reading)], stdout=subprocess.PIPE, pass_fds=[reading]
    ) as parent:
        assert parent.wait(30) == -signal.SIGKILL and parent.stdout is not None
        assert parent.stdout.readline() == b"child\n"
        reader = SpoolReader(spool_dir(tmp_path))
        (file,) = reader.files()
        with reader.complete(file.name) as size:
            assert size == file.size
        os.close(writing)
        assert parent.stdout.read() == b""
    os.close(reading)


def test_a_file_that_somebody_removed_is_followed_by_another(
    tmp_path: Path, writer: JournalWriter, caplog: pytest.LogCaptureFixture
) -> None:
    writer.record(row_of(writer, "first"))
    (file,) = spool_dir(tmp_path).iterdir()
    file.unlink()
    writer.record(row_of(writer, "second"))
    assert read_all(tmp_path) == ["second"] and "was removed" in caplog.text


def test_a_disk_that_is_full_costs_rows_and_one_warning(
    tmp_path: Path, writer: JournalWriter, counts: Counts, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    writer.record(row_of(writer, "before"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        assert [writer.record(row_of(writer, "lost")) for _ in range(10)] == [False] * 10
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert counts == {"journal.recorded": 1, "journal.lost": 10, "journal.failing": 1}
    assert writer.record(row_of(writer, "after"))
    assert counts == {"journal.recorded": 2, "journal.lost": 10, "journal.failing": 0}
    assert sorted(read_all(tmp_path)) == ["after", "before"]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_a_file_that_takes_no_more_costs_no_row(tmp_path: Path, writer: JournalWriter, counts: Counts) -> None:
    writer.record(row_of(writer, "first"))
    (file,) = spool_dir(tmp_path).iterdir()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (file.stat().st_size + 50, hard))
    try:
        assert writer.record(row_of(writer, "second"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_all(tmp_path) == ["first", "second"] and counts["journal.lost"] == 0
    reader = SpoolReader(spool_dir(tmp_path))
    assert [reader.read(each.name, 0).damaged for each in reader.files()] == [0, 0]


def test_spools_that_nobody_moves_do_not_fill_the_disk(tmp_path: Path, counts: Counts) -> None:
    writer = JournalWriter(tmp_path, counts, max_bytes=5_000, rotate_bytes=1_000)
    for _ in range(50):
        writer.record(row_of(writer))
    writer.close()
    assert spooled_bytes(spool_dir(tmp_path)) < 7_000
    assert counts["journal.recorded"] + counts["journal.lost"] == 50 and counts["journal.lost"] > 20


def test_a_folder_that_cannot_be_made_costs_the_row(tmp_path: Path, counts: Counts) -> None:
    (tmp_path / "state").write_text("in the way")
    writer = JournalWriter(tmp_path / "state", counts, max_bytes=1 << 30)
    assert not writer.record(row_of(writer)) and counts["journal.failing"] == 1
