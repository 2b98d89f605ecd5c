"""Where the server writes: two loggers of its own, which have gunicorn's handlers.

A line of the access log names method, path, status, request id, client and duration: neither query nor headers, in
which keys may be, and no name of a file.
"""

from __future__ import annotations

import logging

SERVER_LOG = logging.getLogger("nightscan.server")
ACCESS_LOG = logging.getLogger("nightscan.access")

_MOST_CHARACTERS = 200  # of a path; ours are short
_FIRST_ERROR = 400
_NOT_FOUND = 404
_LEVELS = {"off": logging.CRITICAL, "errors": logging.WARNING, "all": logging.INFO}


def may_log(wanted: str) -> None:
    """Sets the access log to `off`, `errors` or `all`."""
    ACCESS_LOG.setLevel(_LEVELS[wanted])


def logs_access(status: int) -> bool:
    """Whether an answer of this status is to be in the access log."""
    return bool(ACCESS_LOG.handlers) and ACCESS_LOG.isEnabledFor(_level_of(status))


def log_access(
    method: str, path: str, status: int, request_id: str, client: str, duration_ms: float | None, *, whole: bool = True
) -> None:
    """One answer; nothing where it is not wanted. Where errors alone are, the same ones are counted.

    `duration_ms`: None if nobody knows when it began. `whole`: False for a request that no application has seen;
    `method` and `path` are then as much of them as has come.
    """
    if not logs_access(status):
        return
    path = path[:_MOST_CHARACTERS]
    alike = None
    if not ACCESS_LOG.isEnabledFor(logging.INFO):
        # Not by the path of what is not there, or is no request: somebody who tries thousands would fill the log.
        alike = ("access", method, status, path if whole and status != _NOT_FOUND else "")
    told = {
        "request_id": request_id,
        "client": client,
        "status": status,
        "duration_ms": None if duration_ms is None else round(duration_ms, 1),
        "repeat_key": alike,
    }
    ACCESS_LOG.log(_level_of(status), "%s %s %d", method or "-", path or "-", status, extra=told)


def _level_of(status: int) -> int:
    return logging.WARNING if status >= _FIRST_ERROR else logging.INFO
