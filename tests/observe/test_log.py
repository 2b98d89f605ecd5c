"""One line an event, whatever is in it, and repeats as a count."""

from __future__ import annotations

import io
import json
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from engine.observe.log import LineHandler
from engine.observe.log_line import JsonLine, ReadableLine
from tests.support.wait import wait_for

EVIL = 'night\n{"level": "ERROR", "message": "forged"}\r\x1b[2K\x85\u2028\u202e\x00.wav'


class Stream(io.StringIO):
    """What was written, by lines."""

    @property
    def lines(self) -> list[str]:
        return self.getvalue().splitlines()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().split("\n")[:-1]]


@pytest.fixture
def stream() -> Stream:
    return Stream()


@pytest.fixture
def log(stream: Stream) -> Iterator[logging.Logger]:
    """One whose repeats are told after a tenth of a second."""
    made, handler = logging.Logger("test.log"), LineHandler(stream, interval_s=0.1)
    made.addHandler(handler)
    yield made
    handler.close()


def record(text: str, error: Exception | None = None, **extra: object) -> logging.LogRecord:
    raised = None if error is None else (type(error), error, None)
    made = logging.LogRecord("a.b", logging.WARNING, "", 0, "%s", (text,), raised)
    made.__dict__.update(extra)
    return made


def test_an_event_is_a_json_object_where_nobody_looks(log: logging.Logger, stream: Stream) -> None:
    log.warning("three %s", "owls", extra={"request_id": "id-1", "status": 503, "duration_ms": 1.5})
    (event,) = stream.events
    assert event.pop("time").endswith("Z") and event.pop("pid") == os.getpid()
    assert event == {
        "level": "WARNING", "logger": "test.log", "message": "three owls", "request_id": "id-1", "status": 503,
        "duration_ms": 1.5,
    }  # fmt: skip


@pytest.mark.parametrize("formatter", [JsonLine(), ReadableLine()])
def test_no_text_of_a_caller_makes_a_line(formatter: logging.Formatter) -> None:
    line = formatter.format(record(f"file {EVIL}", request_id=EVIL, client=EVIL))
    assert len(line.splitlines()) == 1 and line.isprintable()
    if isinstance(formatter, JsonLine):
        assert json.loads(line)["message"] == f"file {EVIL}"


def test_a_traceback_is_in_the_line_or_set_in() -> None:
    error = ValueError(EVIL)
    assert "ValueError" in json.loads(JsonLine().format(record("it failed", error)))["exception"]
    head, *rest = ReadableLine().format(record("it failed", error)).split("\n")
    assert head.endswith("it failed") and rest and all(line.startswith("    ") for line in rest)
    assert all(line.isprintable() for line in rest)


def test_a_text_without_end_is_cut() -> None:
    assert len(JsonLine().format(record("x" * 10**6))) < 30_000


def test_a_field_without_end_is_cut() -> None:
    assert len(JsonLine().format(record("x", request_id="y" * 1_000_000))) < 21_000


def test_an_event_without_a_text_is_said_and_is_nothing_to_whoever_logs(log: logging.Logger, stream: Stream) -> None:
    log.warning("%d", "no number")
    (event,) = stream.events
    assert "TypeError" in event["message"] and "test_log.py" in event["message"] and event["level"] == "WARNING"


def test_the_same_many_times_is_one_line_and_a_count(log: logging.Logger, stream: Stream) -> None:
    for _ in range(1000):
        log.error("the disk is full")
    log.error("something else")
    assert [event["message"] for event in stream.events] == ["the disk is full", "something else"]
    wait_for(lambda: len(stream.events) == 3, "the count, with nothing logged meanwhile")
    told = stream.events[-1]
    assert told["message"] == "repeated 999 times within 0.1 s: the disk is full"
    assert (told["repeated"], told["level"], told["logger"]) == (999, "ERROR", "test.log")
    log.error("the disk is full")
    assert stream.events[-1]["message"] == "the disk is full"


def test_what_is_the_same_an_event_may_say_itself(log: logging.Logger, stream: Stream) -> None:
    for number in range(4):
        log.warning("request %d failed", number, extra={"request_id": str(number), "repeat_key": "failed"})
        log.warning("each counts", extra={"repeat_key": None})
    assert [event["message"] for event in stream.events] == ["request 0 failed", *["each counts"] * 4]


def test_what_was_counted_is_told_when_the_process_ends(stream: Stream) -> None:
    log, handler = logging.Logger("test.end"), LineHandler(stream)
    log.addHandler(handler)
    for _ in range(3):
        log.error("again")
    handler.close()
    assert [event["message"] for event in stream.events] == ["again", "repeated 2 times within 10 s: again"]


def test_a_forked_child_counts_its_own(log: logging.Logger, stream: Stream) -> None:
    log.error("again")
    log.error("again")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        stream.truncate(0)
        stream.seek(0)
        log.error("again")
        os.write(write, stream.getvalue().encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert b'"message": "again"' in os.read(read, 10_000)
    os.close(read)
    os.close(write)


PROGRAM = """
import logging, sys
from engine.observe.log import set_log_level, set_up_logging
set_up_logging()
log = logging.getLogger("engine.test")
log.info("one"); log.debug("two"); set_log_level("error"); log.warning("three"); log.error("four")
"""


def test_levels_and_a_terminal() -> None:
    """JSON into a pipe, text on a terminal."""
    piped = subprocess.run([sys.executable, "-c", PROGRAM], stderr=subprocess.PIPE, text=True, check=True)
    assert [json.loads(line)["message"] for line in piped.stderr.splitlines()] == ["one", "four"]
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", PROGRAM], stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 10_000).decode().splitlines()
    os.close(ours)
    assert [line.rpartition("] ")[2] for line in shown] == ["engine.test: one", "engine.test: four"]
