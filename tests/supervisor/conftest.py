"""An engine with test instances, started and ended for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.supervisor.engine_process import EngineProcess


@pytest.fixture
def engine(runtime_dir: Path) -> Iterator[EngineProcess]:
    """A supervisor that serves; nothing of it may be left at the end."""
    with EngineProcess(runtime_dir) as running:
        yield running
