"""Releases that lay shared memory out in different ways, in one runtime directory: the second one does not begin.

It could adopt nothing of what lives there, and would end the instances that answer just now.
"""

from __future__ import annotations

import json
from pathlib import Path

from engine.errors import MixedLayouts
from engine.launch.identity import Identity
from engine.shm.layout import LAYOUT_VERSION
from engine.shm.machine_layout import MACHINE_VERSION

LAYOUT = f"{LAYOUT_VERSION:x}.{MACHINE_VERSION:x}"  # of all memory that is shared: releases of one can follow another


def check_layout(state_file: Path) -> None:
    """Raises MixedLayouts while somebody lives, of those in `state_file`, who is of another layout. Changes nothing."""
    try:
        content = json.loads(state_file.read_bytes())
        found = content.get("layout", "an older one")
        known = [Identity(**each) for each in [*content["instances"], *content["frontends"]]]
        living = sorted({each.pid for each in known if each.is_living})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return  # whoever reads it to act on it says what is wrong with it
    if found != LAYOUT and living:
        raise MixedLayouts(
            f"in {state_file.parent} lives a release that lays memory out in another way ({found}; this one: {LAYOUT}),"
            f" pids {', '.join(map(str, living))}: end it first, or give this one another runtime_dir and port"
        )
