"""Guards around every test: whatever a test starts or opens must be gone when it ends."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.leaks import LeakGuard


@pytest.fixture(autouse=True)
def leak_guard(request: pytest.FixtureRequest) -> Iterator[None]:
    """No child process, descriptor, memfd, eventfd or thread may outlive its test."""
    guard = LeakGuard.now()
    yield
    guard.check()


@pytest.fixture
def runtime_dir() -> Iterator[Path]:
    """A private runtime directory with a path short enough for a Unix socket (108 bytes)."""
    path = Path(tempfile.mkdtemp(prefix="ns-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
