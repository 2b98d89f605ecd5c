"""A second release beside this one: the same code, laid out in another way in shared memory."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.support.server import ROOT

LAYOUT = Path("engine/shm/layout.py")


def release_of_another_layout(folder: Path) -> Path:
    """Makes it in `folder`; what to put before everything else on the path of its processes."""
    for package in ("engine", "frontend"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    lay_out(folder, 99)
    return folder


def lay_out(folder: Path, number: int) -> None:
    """Installs yet another layout in the place of the release in `folder`, whatever runs of that."""
    text = (folder / LAYOUT).read_text()
    changed = re.sub(r"^LAYOUT_VERSION = \d+ << 32", f"LAYOUT_VERSION = {number} << 32", text, flags=re.MULTILINE)
    assert changed != text, "the version of the layout is not where it was"
    (folder / LAYOUT).write_text(changed)
