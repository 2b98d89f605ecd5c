"""Locks on bytes: they exclude other processes, die with their own, and stay out of forked children."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Iterator

import pytest

from engine.errors import InternalError
from engine.shm.byte_lock import LAST_OFFSET, ByteLocks


@pytest.fixture
def fd() -> Iterator[int]:
    found = os.memfd_create("test-locks")
    yield found
    os.close(found)


def holder_of(fd: int, offset: int) -> int:
    """A child that has locked a byte of the file, and lives until it is killed."""
    read_end, write_end = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of the thread that bounds the test
        pid = os.fork()
    if pid == 0:
        ByteLocks(fd).try_lock(offset)
        os.write(write_end, b"x")
        signal.pause()
        os._exit(0)
    os.read(read_end, 1)
    os.close(read_end)
    os.close(write_end)
    return pid


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_byte_belongs_to_one_description(fd: int) -> None:
    ours, theirs = ByteLocks(fd), ByteLocks(fd)
    assert ours.try_lock(LAST_OFFSET)
    assert ours.try_lock(LAST_OFFSET)
    assert not theirs.try_lock(LAST_OFFSET)
    assert theirs.try_lock(LAST_OFFSET - 1)
    assert not ours.taken_elsewhere(LAST_OFFSET)
    assert theirs.taken_elsewhere(LAST_OFFSET - 3, 4)
    assert not theirs.taken_elsewhere(LAST_OFFSET - 3, 3)
    ours.unlock(LAST_OFFSET)
    assert theirs.try_lock(LAST_OFFSET)
    ours.close()
    theirs.close()


def test_sigkill_gives_it_back(fd: int) -> None:
    locks = ByteLocks(fd)
    pid = holder_of(fd, 7)
    assert not locks.try_lock(7)
    kill(pid)
    assert locks.try_lock(7)
    locks.close()


def test_a_forked_child_neither_has_the_locks_nor_keeps_them(fd: int) -> None:
    ours, theirs = ByteLocks(fd), ByteLocks(fd)
    assert ours.try_lock(1)
    pid = holder_of(fd, 2)  # forked while `ours` is open
    ours.close()
    assert theirs.try_lock(1)
    kill(pid)
    theirs.close()


def test_closed_locks_are_an_error_not_a_wrong_answer(fd: int) -> None:
    locks = ByteLocks(fd)
    locks.close()
    locks.unlock(1)
    with pytest.raises(InternalError):
        locks.try_lock(1)
    with pytest.raises(InternalError):
        locks.taken_elsewhere(1)
