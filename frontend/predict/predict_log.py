"""The original API's prediction log: one line of JSON, the answer array, for every answered request.

The file is opened for each line, so that a log rotation by renaming is noticed; one write in append mode keeps the
lines of several processes apart.
"""

from __future__ import annotations

import errno
import logging
import os

_LOG = logging.getLogger(__name__)
_MODE = 0o640
# Not blocking: a pipe that nobody reads would hold up whoever writes, an event loop among them.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK


class PredictLog:
    """Writes to `path`; does nothing without one. Sole mutator of `_told`: `write`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._told = False

    def write(self, body: bytes) -> None:
        """Appends one answer. A full disk or a wrong path costs the line and one warning, never the answer."""
        if not self._path:
            return
        try:
            descriptor = os.open(self._path, _FLAGS, _MODE)
            try:
                missing_bytes = len(body) + 1 - os.writev(descriptor, (body, b"\n"))
            finally:
                os.close(descriptor)
            if missing_bytes:
                raise OSError(errno.ENOSPC, f"the last {missing_bytes} bytes of a line were not written")
            self._told = False
        except OSError as error:
            if not self._told:
                _LOG.warning("predict log %s: %s", self._path, error)
            self._told = True
