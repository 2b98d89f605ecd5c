"""An eventfd that wakes another process: a hint, never a fact.

Waking without cause is legal, and so is one wake for many rings. Therefore: drain first, then look at the slots.
"""

from __future__ import annotations

import os


class Bell:
    """One eventfd, non-blocking and close-on-exec; owns its descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    @classmethod
    def create(cls) -> Bell:
        """A silent bell."""
        return cls(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))

    def ring(self) -> None:
        """Makes the descriptor readable. Never blocks."""
        try:
            os.eventfd_write(self._fd, 1)
        except BlockingIOError:
            pass  # 2**64 - 2 rings are pending: it is readable

    def drain(self) -> bool:
        """Takes all pending rings; whether there were any. Never blocks."""
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return False
        return True

    def fileno(self) -> int:
        """For poll, `add_reader`, and for sending to another process."""
        return self._fd

    def close(self) -> None:
        """Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
