"""The settings that count here: what this shell sets, over what the engine that runs was started with.

Whoever asks from another shell, or as a unit's user, thereby means the same ports, model and stores as the engine.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from engine.config import Settings, declared, load_settings
from engine.errors import ConfigError
from engine.launch import supervisor_pid

_OURS = "NIGHTSCAN_"
_PLACE = "NIGHTSCAN_OPTIMIZED_SERVING__RUNTIME_DIR"  # by which it was found


def settings_here() -> Settings:
    """Raises ConfigError as `load_settings` does; what is wrong with the engine's own variables is the engine's."""
    own = load_settings()
    told = engine_variables(own.runtime_dir)
    if not told:
        return own
    try:
        return load_settings({**told, **os.environ})
    except ConfigError:
        return own


def engine_variables(runtime_dir: str) -> dict[str, str]:
    """Variables of the running supervisor that are for us, by name; empty where none runs or it is not ours to read."""
    pid = supervisor_pid(runtime_dir)
    bare = {each.rule.bare_variable for each in declared()} | {"STATE_DIRECTORY"}
    found: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if pid else []:
            name, equals, value = entry.decode(errors="surrogateescape").partition("=")
            if equals and name.upper() != _PLACE and (name.upper().startswith(_OURS) or name in bare - {""}):
                found[name] = value
    return found
