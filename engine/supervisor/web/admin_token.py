"""The token of the status server: `admin.token` in the runtime directory, for whoever can read there."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from pathlib import Path

TOKEN_FILE = "admin.token"

_FORM = re.compile(rb"[A-Za-z0-9_-]{43}\n")


class AdminToken:
    """One engine's. A successor of one that was killed goes on with it, so that pages that are open go on too."""

    def __init__(self, runtime_dir: Path) -> None:
        """Takes what a predecessor left, if nobody but this user could read it; else makes a new one."""
        self._path = runtime_dir / TOKEN_FILE
        found = self._found()
        self.value = found or secrets.token_urlsafe(32)

    def keep(self) -> None:
        """Puts the file (back), 0600. Raises OSError."""
        if self._found() == self.value:
            return
        fresh = self._path.with_name(f"{TOKEN_FILE}.new")
        fresh.unlink(missing_ok=True)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, self.value.encode() + b"\n")
        finally:
            os.close(fd)
        fresh.rename(self._path)

    def remove(self) -> None:
        """The engine has ended in order: the next one has another token."""
        with contextlib.suppress(OSError):
            if self._found() == self.value:
                self._path.unlink()

    def _found(self) -> str:
        """What stands in the file; empty if it is not there, not ours alone, or no token."""
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return ""
        try:
            status, content = os.fstat(fd), os.read(fd, 100)
        except OSError:
            return ""
        finally:
            os.close(fd)
        is_ours = status.st_uid == os.geteuid() and not status.st_mode & 0o077
        return content.decode().strip() if is_ours and _FORM.fullmatch(content) else ""
