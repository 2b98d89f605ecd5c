"""One engine with test instances for all tests of a module."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.status.asking import Asking
from tests.supervisor.engine_process import EngineProcess
from tests.support.wait import wait_for


@pytest.fixture(scope="module")
def engine() -> Iterator[EngineProcess]:
    """A supervisor that serves."""
    folder = Path(tempfile.mkdtemp(prefix="ns-", dir="/tmp"))
    with EngineProcess(folder) as running:
        asking = Asking(folder)
        wait_for(lambda: asking.path.exists(), "the status server's socket")
        wait_for(lambda: ready_instances(asking) == 2, "both instances to serve")
        yield running
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def asking(engine: EngineProcess) -> Asking:
    return Asking(engine.runtime_dir)


def ready_instances(asking: Asking) -> int:
    """Of the configured deployment; 0 while nothing is known."""
    found = asking.get("/status").json.get("deployments", [])
    return sum(version["ready"] for each in found for version in each["versions"])
