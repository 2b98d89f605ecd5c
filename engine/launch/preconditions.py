"""What must hold before an engine runs here: the platform, the runtime directory, and where the journal lies."""

from __future__ import annotations

import errno
import os
import platform
import stat
import sys
from pathlib import Path

from engine.config import Settings
from engine.errors import ConfigError, UnsupportedPlatform

_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENFILE, errno.EMFILE)


def check_platform() -> None:
    """Raises UnsupportedPlatform, naming what is missing, where the shared-memory protocol does not hold."""
    if sys.platform != "linux" or platform.machine() not in ("x86_64", "AMD64"):
        raise UnsupportedPlatform(f"the engine runs on x86-64 Linux, this is {platform.machine()} {sys.platform}")
    for name in ("eventfd", "memfd_create", "pidfd_open"):
        if not hasattr(os, name):
            raise UnsupportedPlatform(f"this Python ({platform.python_version()}) has no os.{name}")
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        raise UnsupportedPlatform(f"this kernel ({platform.release()}) has no pidfd: {error}") from error


def prepare_runtime_dir(runtime_dir: str | os.PathLike[str]) -> Path:
    """Makes the directory, 0700. Raises ConfigError if it cannot be made or is somebody else's."""
    path = Path(runtime_dir).absolute()
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found, link = path.stat(), path.lstat()  # in /tmp somebody else may have put a link there
    except OSError as error:
        raise ConfigError(f"runtime_dir={path}: {error.strerror}") from error
    for owner_uid in (found.st_uid, link.st_uid):
        if owner_uid != os.geteuid():
            raise ConfigError(f"runtime_dir={path}: belongs to uid {owner_uid}, this process is uid {os.geteuid()}")
    if stat.S_IMODE(found.st_mode) != 0o700:
        path.chmod(0o700)
    return path


def prepare_state_dir(settings: Settings) -> Path:
    """Makes the folder of the journal, 0700. Raises ConfigError, which says how to do without, if it can never be used.

    A full disk is no such reason: that passes, and answers are given meanwhile.
    """
    path = Path(settings.state_dir)
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        if error.errno not in _PASSING:
            raise ConfigError(
                f"state_dir={path} ({settings.sources['state_dir']}): cannot be written: {error.strerror}; name another"
                " folder, or keep no journal: journal=off"
            ) from error
    return path
