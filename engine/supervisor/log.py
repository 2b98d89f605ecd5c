"""One line an event: for people on a terminal, as JSON for machines."""

from __future__ import annotations

import json
import logging
import os
import sys


class _JsonLine(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def set_up_logging() -> None:
    """For the main program of a process; libraries only log.

    Standard descriptors that were closed are opened on nothing first: else the next file or socket would get the number
    of one, and with it the log, and whatever children write.
    """
    _fill_standard_descriptors()
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # for the life of the process
    handler = logging.StreamHandler(sys.stderr)
    readable = "%(asctime)s [%(process)d] [%(levelname)s] %(name)s: %(message)s"
    handler.setFormatter(logging.Formatter(readable) if sys.stderr.isatty() else _JsonLine())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.raiseExceptions = False  # a log that nobody reads any more is no reason to write about that


def _fill_standard_descriptors() -> None:
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            os.set_inheritable(opened, True)
