"""Writes configuration files for the tests beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

WriteFile = Callable[[object], Path]


@pytest.fixture
def write_file(tmp_path: Path) -> WriteFile:
    """Writes a configuration file: an object as JSON, a text as it is."""

    def write(content: object) -> Path:
        path = tmp_path / "nightscan.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write
