"""What was learnt of batch sizes is there for the next process, or there is nothing: never half of it."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from engine.core.batch_size import BatchRecord
from engine.core.ceiling import CeilingRecord
from engine.core.latency_curve import Measured
from engine.tuning import batch_notes as batch_notes_module
from engine.tuning.batch_notes import BatchNotes

LEARNT = BatchRecord(CeilingRecord(6, 2, 6), {1: Measured(10, 4), 8: Measured(70, 16)})


def notes(state_dir: Path, version: str = "v1", device: str = "cpu", threads: int = 1) -> BatchNotes:
    return BatchNotes(state_dir, model_version=version, device=device, threads=threads)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    notes(tmp_path).write(LEARNT, with_ceiling=True)
    assert notes(tmp_path).read() == LEARNT
    assert oct(notes(tmp_path).path.stat().st_mode)[-3:] == "600"


def test_another_model_device_or_number_of_threads_is_another_matter(tmp_path: Path) -> None:
    notes(tmp_path).write(LEARNT, with_ceiling=True)
    others = notes(tmp_path, version="v2"), notes(tmp_path, device="cuda:0 A"), notes(tmp_path, threads=2)
    assert [each.read() for each in others] == [BatchRecord()] * 3


def test_one_that_met_no_ceiling_leaves_that_of_others(tmp_path: Path) -> None:
    notes(tmp_path).write(LEARNT, with_ceiling=True)
    notes(tmp_path).write(BatchRecord(CeilingRecord(), {1: Measured(9, 3), 2: Measured(11, 3)}), with_ceiling=False)
    both = {**LEARNT.measured, 1: Measured(9, 3), 2: Measured(11, 3)}
    assert notes(tmp_path).read() == BatchRecord(LEARNT.ceiling, both)


GOOD: dict[str, object] = {"format": 1, "ceiling": [0, 0, 0], "measured": {"1": [5, 1]}}
WRONG: tuple[dict[str, object], ...] = (
    {"format": 2}, {"ceiling": [1, 2]}, {"ceiling": [-1, 0, 0]}, {"ceiling": [0, 0, True]}, {"ceiling": None},
    {"ceiling": [10**30, 0, 0]}, {"measured": []}, {"measured": {"x": [5, 1]}}, {"measured": {"1": [-5, 1]}},
    {"measured": {"1": 5}}, {"measured": {"1": [float("inf"), 1]}}, {"measured": {"1": [True, 1]}},
    {"measured": {"1": [10**400, 1]}}, {"measured": {"1": [5, 1, 1]}},
)  # fmt: skip


@pytest.mark.parametrize("content", [
    b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 20000, json.dumps(GOOD).encode()[:-9],
    *(json.dumps(GOOD | changed).encode() for changed in WRONG),
])
def test_what_is_damaged_is_forgotten_and_written_anew(tmp_path: Path, content: bytes) -> None:
    notes(tmp_path).write(LEARNT, with_ceiling=True)
    notes(tmp_path).path.write_bytes(content)
    assert notes(tmp_path).read() == BatchRecord()
    notes(tmp_path).write(LEARNT, with_ceiling=True)
    assert notes(tmp_path).read() == LEARNT


def test_of_writers_at_once_one_wins(tmp_path: Path) -> None:
    records = [BatchRecord(CeilingRecord(size, 1, 0), {1: Measured(size, 3)}) for size in range(2, 10)]
    writers = [
        threading.Thread(target=notes(tmp_path).write, args=(record,), kwargs={"with_ceiling": True})
        for record in records
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert notes(tmp_path).read() in records


def test_a_folder_that_cannot_be_written_says_so_and_reads_as_nothing(tmp_path: Path) -> None:
    (tmp_path / "tuning").write_text("in the way")
    with pytest.raises(OSError):
        notes(tmp_path).write(LEARNT, with_ceiling=True)
    assert notes(tmp_path).read() == BatchRecord()


def test_old_files_and_halves_of_dead_writers_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_notes_module, "KEPT_FILES", 3)
    for number in range(6):
        one = notes(tmp_path, version=str(number))
        one.write(LEARNT, with_ceiling=True)
        os.utime(one.path, (number, number))
    assert len(list(one.path.parent.iterdir())) <= 4 and one.read() == LEARNT
