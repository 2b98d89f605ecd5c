"""Where events of a process go: one line each to its standard error, repeats as a count.

For main programs; libraries only log. An event may say more of itself by `extra`: see `FIELDS`, and `repeat_key`, by
which it is the same as another one, whatever else differs (default: its text); None: it is like no other.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Hashable
from typing import NamedTuple, TextIO

from engine.clock import NS_PER_S, now_ns
from engine.config.declaration import ENVIRONMENT_PREFIX
from engine.core.log_repeats import LogRepeats
from engine.observe.log_line import JsonLine, ReadableLine, cut

LEVELS = ("debug", "info", "warning", "error")
LEVEL_VARIABLE = f"{ENVIRONMENT_PREFIX}LOG_LEVEL"
_OURS = "engine"
REPEATS_S = 10.0  # so long the same lines are counted


class _Told(NamedTuple):
    name: str
    level: int
    text: str


class LineHandler(logging.StreamHandler[TextIO]):
    """Writes events as lines; `interval_s` is how long repeats are counted before they are told."""

    def __init__(self, stream: TextIO, *, interval_s: float = REPEATS_S) -> None:
        super().__init__(stream)
        self._interval_s = interval_s
        self._repeats = self._none_seen()  # as everything here, under the handler's own lock
        self._timer: threading.Timer | None = None
        self._pid = os.getpid()
        self.setFormatter(ReadableLine() if stream.isatty() else JsonLine())

    def emit(self, record: logging.LogRecord) -> None:
        """Caller holds the handler's lock, as `logging` sees to."""
        if self._pid != os.getpid():  # forked: what its parent counts, and the parent's timer, are not its own
            self._repeats, self._timer, self._pid = self._none_seen(), None, os.getpid()
        now = now_ns()
        self._tell(now)
        try:
            text = _text_of(record)
        except Exception as error:  # of other people's format, or object: it must not reach whoever logs
            record, text = _untold(record, error)
        key: Hashable = getattr(record, "repeat_key", "")
        key = (record.name, record.levelno, text) if key == "" else key
        if key is None or self._repeats.note(key, _Told(record.name, record.levelno, text), now):
            super().emit(record)
        elif self._timer is None:
            self._timer = threading.Timer(self._interval_s, self._time_is_over)
            self._timer.daemon = True
            self._timer.start()

    def close(self) -> None:
        """Tells what was counted until now."""
        with self.lock or threading.RLock():
            if self._timer is not None and self._pid == os.getpid():
                self._timer.cancel()
                self._tell(now_ns() + int(self._interval_s * NS_PER_S) + 1)
            self._timer = None
        super().close()

    def _time_is_over(self) -> None:
        """In the timer's thread. Without it the count of what has stopped would wait for the next event."""
        with self.lock or threading.RLock():
            self._timer = None
            self._tell(now_ns())
            if self._repeats.counting:
                self._timer = threading.Timer(self._interval_s, self._time_is_over)
                self._timer.daemon = True
                self._timer.start()

    def _tell(self, now: int) -> None:
        for told, count in self._repeats.over(now):
            text = f"repeated {count} time{'s' if count > 1 else ''} within {self._interval_s:g} s: {told.text}"
            record = logging.LogRecord(told.name, told.level, "", 0, "%s", (text,), None)
            record.__dict__["repeated"] = count
            super().emit(record)

    def _none_seen(self) -> LogRepeats[_Told]:
        return LogRepeats(int(self._interval_s * NS_PER_S))


def set_up_logging(*, is_shared: bool = False) -> None:
    """For the main program of a process of the engine; the level is the environment's until `set_log_level`.

    `is_shared`: other people's code runs here too, which may set up logging as it likes; ours is apart from it. Else
    what others have to say, from warnings on, is in our lines too.

    Standard descriptors that were closed are opened on nothing first: else the next file or socket would get the number
    of one, and with it the log, and whatever children write.
    """
    _fill_standard_descriptors()
    if sys.stderr is None:
        sys.stderr = open(2, "w", errors="backslashreplace", closefd=False)  # for the life of the process
    level = os.environ.get(LEVEL_VARIABLE, "").lower()
    ours = logging.getLogger(_OURS)
    ours.setLevel((level if level in LEVELS else "info").upper())
    ours.propagate = not is_shared
    (ours if is_shared else logging.getLogger()).addHandler(LineHandler(sys.stderr))
    logging.raiseExceptions = False  # a log that nobody reads any more is no reason to write about that


def set_log_level(level: str) -> None:
    """One of LEVELS, for this process and those that it starts from now on."""
    logging.getLogger(_OURS).setLevel(level.upper())
    os.environ[LEVEL_VARIABLE] = level


def _text_of(record: logging.LogRecord) -> str:
    text = cut(record.getMessage())
    error = record.exc_info[1] if record.exc_info else None
    return text if error is None else f"{text} ({type(error).__name__})"


def _untold(record: logging.LogRecord, error: Exception) -> tuple[logging.LogRecord, str]:
    """What is written in the place of an event that has no text, and its text."""
    text = f"an event cannot be written ({type(error).__name__}): {record.filename}, line {record.lineno}"
    return logging.LogRecord(record.name, record.levelno, record.pathname, record.lineno, "%s", (text,), None), text


def _fill_standard_descriptors() -> None:
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            os.set_inheritable(opened, True)
