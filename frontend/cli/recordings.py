"""Files that commands send."""

from __future__ import annotations

import os
import stat

import click

from engine.config import declared
from engine.errors import ConfigError

RECORDING = click.Path(exists=True, dir_okay=False, readable=True)


def bytes_of(path: str) -> bytes:
    """All of it. Raises ConfigError for a device, which may have no end, and for what no server takes; OSError."""
    (setting,) = (each for each in declared() if each.name == "max_upload_bytes")
    most = int(setting.rule.at_most or 0)
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISFIFO(status.st_mode):
            raise ConfigError(f"{path}: no file")
        content = file.read(most + 1) if status.st_size <= most else b""
    if max(status.st_size, len(content)) > most:
        raise ConfigError(f"{path}: over {most} bytes, which is more than any server takes")
    return content
