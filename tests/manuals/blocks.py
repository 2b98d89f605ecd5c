"""The blocks of code of a manual, by the section they stand in."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(manual: str, heading: str, language: str) -> list[str]:
    """Texts of all blocks of `language` under `heading` (with its #s), down to the next heading."""
    text = (ROOT / manual).read_text()
    assert f"\n{heading}\n" in text, f"{manual} has no {heading}"
    section = re.split(r"\n#{2,6} ", text.split(f"\n{heading}\n", 1)[1], maxsplit=1)[0]
    return [block for found, block in _BLOCK.findall(section) if found == language]


def statements(block: str) -> list[str]:
    """The SQL statements of a block, without comments."""
    bare = re.sub(r"--[^\n]*", "", block)
    return [statement.strip() for statement in bare.split(";") if statement.strip()]


def commands(block: str) -> list[str]:
    """The lines of a block that are no comments."""
    return [line for line in block.splitlines() if line.strip() and not line.startswith("#")]
