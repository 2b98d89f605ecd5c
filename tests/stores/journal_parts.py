"""What the tests of the journal are made of: rows, counts, and processes that are killed where they are told."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from engine.core.retention import RetentionPolicy
from engine.crash_points import VARIABLE
from engine.stores.archive_schema import database_path
from engine.stores.journal_record import JournalRow
from engine.stores.mover import Mover
from engine.stores.spool import JournalWriter

FOR_EVER = RetentionPolicy(0, 1 << 40)
SEGMENTS = ((0, 0.0, 8.0, (("owl", 0.75), ("fox", 0.25))), (1, 8.0, 16.0, (("fox", 0.5), ("owl", 0.5))))


class Counts(Counter[str]):
    """Counters and gauges of one process."""

    def add(self, name: str, n: int = 1) -> None:
        self[name] += n

    def set(self, name: str, value: int) -> None:
        self[name] = value


def row_of(writer: JournalWriter, file: str = "night.wav", *, answered_at: float | None = None) -> JournalRow:
    now_s, id = writer.next_key()
    return JournalRow(
        now_s if answered_at is None else answered_at,
        id,
        request_id="r-1",
        deployment="owls",
        model_version="v1",
        route="optimized",
        status=200,
        file=file,
        size_bytes=1234,
        duration_s=16.0,
        latency_s=0.01,
        client="127.0.0.1",
        segments=SEGMENTS,
    )


def write(state_dir: Path, files: Sequence[str], counts: Counts | None = None) -> None:
    """Rows for files of these names, in a spool that is complete afterwards."""
    writer = JournalWriter(state_dir, counts if counts is not None else Counts(), max_bytes=1 << 40)
    for file in files:
        assert writer.record(row_of(writer, file))
    writer.close()


def move_all(state_dir: Path, counts: Counts | None = None) -> None:
    mover = Mover(state_dir, FOR_EVER, counts if counts is not None else Counts(), is_sent=False)
    while mover.move():
        pass
    mover.close()


def stored_files(state_dir: Path) -> list[str]:
    """File names of all rows of the archive, in the order of arrival."""
    connection = sqlite3.connect(database_path(state_dir))
    try:
        found = connection.execute("SELECT json_extract(CAST(body AS TEXT), '$.file') FROM records ORDER BY seq")
        return [file for (file,) in found]
    finally:
        connection.close()


def killed_at(point: str, program: str, *arguments: str) -> None:
    """Runs the program, which must die of SIGKILL at that point."""
    done = run_program(program, *arguments, crash_point=point)
    assert done.returncode == -signal.SIGKILL, f"{point} was not reached: {done.returncode} {done.stderr}"


def run_program(program: str, *arguments: str, crash_point: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, VARIABLE: crash_point}
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
