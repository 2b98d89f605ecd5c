"""The prediction log: whole lines, rotation, and never in the way of an answer."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from frontend.predict.predict_log import PredictLog


def test_nothing_is_written_without_a_path() -> None:
    PredictLog("").write(b"[]")


def test_one_line_for_each_answer_also_after_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "predict.log"
    log = PredictLog(str(path))
    log.write(b'[{"segment":"a.wav"}]')
    path.rename(tmp_path / "predict.log.1")
    log.write(b"[]")
    assert json.loads((tmp_path / "predict.log.1").read_text())[0]["segment"] == "a.wav"
    assert path.read_text() == "[]\n"


def test_lines_of_several_writers_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "predict.log"
    line = json.dumps(["x" * 3000])

    def write_many() -> None:
        log = PredictLog(str(path))
        for _ in range(50):
            log.write(line.encode())

    writers = [threading.Thread(target=write_many) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_text().splitlines() == [line] * 200


def test_a_pipe_that_nobody_reads_holds_up_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "predict.log"
    os.mkfifo(path)
    log = PredictLog(str(path))
    log.write(b"[]")
    assert len(caplog.records) == 1
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        log.write(b"[1]")
        assert os.read(reader, 100) == b"[1]\n"
        log.write(b"x" * 1_000_000)  # more than a pipe holds
        assert "bytes of a line were not written" in caplog.text
    finally:
        os.close(reader)


def test_a_path_that_cannot_be_written_costs_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = PredictLog(str(tmp_path / "missing" / "predict.log"))
    log.write(b"[]")
    log.write(b"[]")
    assert len(caplog.records) == 1
