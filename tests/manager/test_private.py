"""The folder of an engine that one program has for itself: gone with it, and made again should it vanish under it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config import load_settings
from engine.errors import EngineError
from engine.launch import private
from engine.launch.identity import Identity
from engine.launch.locks import KEEPER_LOCK, SUPERVISOR_LOCK, LockFile, living_holder
from engine.manager.host import EngineHost
from tests.client.stage import wait_until


@pytest.fixture
def temporary(runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where private folders are made in this test."""
    monkeypatch.setattr(tempfile, "tempdir", str(runtime_dir))
    yield runtime_dir


@pytest.fixture(scope="module")
def dead() -> Identity:
    """A process that is no more."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    identity = Identity.of(process.pid)
    process.communicate(b"\n")
    return identity


def folder_of(identity: Identity, temporary: Path, *, marked: bool = True) -> Path:
    path = temporary / f"nightscan-{identity.pid}-{identity.start_ticks}-abcdefgh"
    path.mkdir(mode=0o700)
    (path / "engine.log").write_text("...")
    if marked:
        private.mark(path)
    return path


def test_a_folder_whose_program_and_engine_are_dead_is_swept(temporary: Path, dead: Identity) -> None:
    path = folder_of(dead, temporary)
    private.sweep()
    assert not path.exists()


def test_an_empty_folder_of_a_dead_program_is_swept(temporary: Path, dead: Identity) -> None:
    path = folder_of(dead, temporary, marked=False)
    private.sweep()
    assert path.exists()
    (path / "engine.log").unlink()
    private.sweep()
    assert not path.exists()


def test_a_folder_in_which_an_engine_runs_is_left(temporary: Path, dead: Identity) -> None:
    path = folder_of(dead, temporary)
    for name in (KEEPER_LOCK, SUPERVISOR_LOCK):
        lock = LockFile.try_take(path / name)
        assert lock is not None
        private.sweep()
        assert path.exists()
        lock.release()


def test_a_folder_of_a_living_program_is_left(temporary: Path) -> None:
    path = folder_of(Identity.of(os.getpid()), temporary)
    private.sweep()
    assert path.exists()


def test_what_a_link_points_to_is_left(temporary: Path, dead: Identity) -> None:
    theirs = temporary / "theirs"
    theirs.mkdir()
    private.mark(theirs)
    (theirs / "recording.wav").touch()
    (temporary / f"nightscan-{dead.pid}-{dead.start_ticks}-abcdefgh").symlink_to(theirs)
    private.sweep()
    assert (theirs / "recording.wav").exists()


def test_a_folder_that_somebody_chose_is_left(temporary: Path) -> None:
    (temporary / "state.json").touch()
    private.remove_if_over(temporary)
    assert (temporary / "state.json").exists()


def test_a_private_folder_that_vanished_with_its_engine_is_made_again(temporary: Path) -> None:
    host = EngineHost(load_settings({}))
    client = host.start()
    try:
        (path,) = temporary.iterdir()
        for name in (KEEPER_LOCK, SUPERVISOR_LOCK):
            holder = living_holder(path / name)
            assert holder is not None
            os.kill(holder.pid, signal.SIGKILL)
        shutil.rmtree(path)

        def answers() -> bool:
            try:
                return bool(client.request("status", timeout_s=5))
            except EngineError:
                return False

        wait_until(answers, "another engine")
        assert path.stat().st_mode & 0o777 == 0o700
    finally:
        host.stop()
    assert list(temporary.iterdir()) == []
