"""How an event becomes one line: for people on a terminal, as JSON for machines.

Whatever a caller has sent stands in a line as text: no control character of it ends the line, or moves a cursor.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import datetime, timezone

# What an event may say of itself beside its text, by `extra`.
FIELDS = ("request_id", "client", "status", "duration_ms", "repeated")

_MOST_CHARACTERS = 20_000  # of a text, and of a traceback
_TURNS = "\u200e\u200f\u2028-\u202e\u2066-\u2069"  # end a line as well, or have it read from the right
_CONTROL = re.compile(f"[\x00-\x1f\x7f-\x9f{_TURNS}]")
_CONTROL_BUT_LINES = re.compile(f"[\x00-\x09\x0b-\x1f\x7f-\x9f{_TURNS}]")


class JsonLine(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": _time_of(record),
            "level": record.levelname,
            "logger": record.name,
            "pid": record.process,
            "message": cut(record.getMessage()),
            **_fields_of(record),
        }
        if record.exc_info:
            fields["exception"] = cut(self.formatException(record.exc_info))
        return json.dumps(fields, default=str)


class ReadableLine(logging.Formatter):
    """One line; a traceback follows, each line of it behind four blanks."""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{_time_of(record)} [{record.process}] [{record.levelname}] {record.name}: "
        told = [cut(record.getMessage()), *(f"{name}={value}" for name, value in _fields_of(record).items())]
        line = head + _CONTROL.sub(_escaped, " ".join(told))
        if record.exc_info:
            trace = _CONTROL_BUT_LINES.sub(_escaped, cut(self.formatException(record.exc_info)))
            line += "\n    " + trace.replace("\n", "\n    ")
        return line


def _fields_of(record: logging.LogRecord) -> dict[str, object]:
    found = {name: getattr(record, name, None) for name in FIELDS}
    return {name: cut(v) if isinstance(v, str) else v for name, v in found.items() if v not in (None, "")}


def _time_of(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, timezone.utc)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def cut(text: str) -> str:
    """What is kept of a text: its end, where the reason is."""
    return text if len(text) <= _MOST_CHARACTERS else f"[...] {text[-_MOST_CHARACTERS:]}"


def _escaped(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode()
