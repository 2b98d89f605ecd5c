"""Folders of engines that one program has for itself: made for it, and gone with it, however it ended.

The name says whose it is and a mark in it says that it was made here, so that no folder is removed that somebody chose.
Whoever ends last removes it: the program itself, else the keeper, else the supervisor; and where all of them were
killed, the next program that makes one.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path

from engine.launch import masters
from engine.launch.identity import Identity
from engine.launch.locks import KEEPER_LOCK, SUPERVISOR_LOCK, LockFile

_MARK = "private"
_NAME = re.compile(r"nightscan-(\d{1,10})-(\d{1,20})-\w+")


def make() -> Path:
    """A new folder for this process, 0700. Raises OSError."""
    own = Identity.of(os.getpid())
    path = Path(tempfile.mkdtemp(prefix=f"nightscan-{own.pid}-{own.start_ticks}-"))
    mark(path)
    return path


def mark(path: Path) -> None:
    """Says that `path` may be removed with its engine. Raises OSError."""
    (path / _MARK).touch(0o600)


def remove_if_over(path: Path) -> None:
    """Removes a marked folder in which no engine runs and that no living process wants. Nothing happens to others."""
    if not _is_marked(path):
        return
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        for name in (KEEPER_LOCK, SUPERVISOR_LOCK):  # held while it is removed: nobody starts in it meanwhile
            lock = LockFile.try_take(path / name)
            if lock is None:
                return
            stack.callback(lock.release)
        if not masters.living(path):
            shutil.rmtree(path, ignore_errors=True)


def sweep() -> None:
    """Removes what programs that are dead have left of ours in the temporary folder."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(tempfile.gettempdir()):
            named = _NAME.fullmatch(entry.name)
            if named is not None and not Identity(int(named[1]), int(named[2])).is_living:
                remove_if_over(Path(entry.path))
                _remove_if_empty(Path(entry.path))


def _remove_if_empty(path: Path) -> None:
    """Its program was killed before it could mark it."""
    with contextlib.suppress(OSError):
        if path.lstat().st_uid == os.geteuid():
            path.rmdir()


def _is_marked(path: Path) -> bool:
    """Whether it is a folder of ours, no link to one, with a mark of ours."""
    try:
        folder, mark_file = path.lstat(), (path / _MARK).lstat()
    except OSError:
        return False
    ours = folder.st_uid == mark_file.st_uid == os.geteuid()
    return ours and stat.S_ISDIR(folder.st_mode) and stat.S_ISREG(mark_file.st_mode)
