"""Guards around every test: whatever a test starts or opens must be gone when it ends."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.leaks import LeakGuard

# No test may write into the journal, or the databases, of whoever runs it. What a test starts inherits this.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="ns-state-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)
# Trials of faster forms take a core for minutes; a test that is about them asks for them.
os.environ["NIGHTSCAN_OPTIMIZED_SERVING__TUNING"] = "off"
# One port for all would be whoever's comes first; each engine has its socket.
os.environ["NIGHTSCAN_OPTIMIZED_SERVING__STATUS_PORT"] = "0"
for _variable in ("REDIS_URL", "DATABASE_URL", "STATE_DIRECTORY"):
    os.environ.pop(_variable, None)

# A shell that runs the tests in the background has this one ignored, and whatever a test starts and then interrupts
# would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What thousands of tests have imported stays: each collection that looks through it takes a third of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def leak_guard(request: pytest.FixtureRequest) -> Iterator[None]:
    """No child process, descriptor, memfd, eventfd or thread may outlive its test."""
    guard = LeakGuard.now()
    yield
    if (attach := sys.modules.get("frontend.attach")) is not None:
        attach.close_stores()  # what a test's requests have opened in this process; the next one opens it anew
    guard.check()


@pytest.fixture
def runtime_dir() -> Iterator[Path]:
    """A private runtime directory with a path short enough for a Unix socket (108 bytes)."""
    path = Path(tempfile.mkdtemp(prefix="ns-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)
