"""Steps that fail in the middle and are done again: nothing is done twice, and nothing is left out."""

from __future__ import annotations

import errno
import functools
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.launch import masters
from engine.launch.identity import send_signal
from engine.messages import connect
from engine.supervisor.children import reap, spawn
from engine.supervisor.folder import RuntimeFolder
from engine.supervisor.keeper import Keeper
from engine.supervisor.listener import Listener
from engine.supervisor.loop import Loop
from engine.supervisor.master_watch import MasterWatch
from engine.supervisor.peer import Peer
from engine.supervisor.pool import Pool
from engine.supervisor.slow_work import MOST_JOBS, SlowWork
from engine.supervisor.web.door import PortDoor
from tests.supervisor.test_pool import PAUSE, loop, pool, version
from tests.supervisor.test_slow_work import run_until
from tests.support.wait import wait_for

__all__ = ["loop", "pool", "version"]  # fixtures

Fails = Callable[[], None]


@pytest.fixture
def next_watch_fails(monkeypatch: pytest.MonkeyPatch, loop: Loop) -> Iterator[Fails]:
    """Called, the next descriptor cannot be watched: as where all watches that a user may have are in use."""
    register, left = selectors.EpollSelector.register, [0]

    def limited(self: selectors.EpollSelector, *given: Any) -> selectors.SelectorKey:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return register(self, *given)

    monkeypatch.setattr(selectors.EpollSelector, "register", limited)
    yield functools.partial(left.__setitem__, 0, 1)
    assert not left[0]


def test_a_descriptor_that_cannot_be_watched_again_at_once_is_later(loop: Loop, next_watch_fails: Fails) -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    heard: list[bytes] = []

    def hear() -> None:
        heard.append(os.read(reader, 1))
        if len(heard) == 1:
            raise ZeroDivisionError

    loop.watch(reader, hear)
    os.write(writer, b"ab")
    loop.run_once()
    next_watch_fails()
    run_until(loop, lambda: len(heard) == 2 and loop.guard.health.degraded)
    os.write(writer, b"cd")
    run_until(loop, lambda: len(heard) == 4 and not loop.guard.health.degraded)
    os.write(writer, b"e")
    run_until(loop, lambda: len(heard) == 5)
    loop.unwatch(reader)
    os.close(reader)
    os.close(writer)


def test_a_step_that_is_tried_again_may_have_itself_tried(loop: Loop) -> None:
    calls: list[int] = []

    def step() -> None:
        calls.append(len(calls))
        if calls == [0]:
            raise ZeroDivisionError
        if len(calls) == 2:
            loop.attempt(step)

    loop.attempt(step)
    loop.attempt(step)
    assert calls == [0, 1, 2]
    assert not loop.guard.health.degraded


def test_an_instance_whose_death_could_not_be_noticed_is_ended_and_another_started(
    loop: Loop, pool: Pool, next_watch_fails: Fails
) -> None:
    next_watch_fails()
    pool.resize(1, ("cpu",))
    assert not list(pool.instances())
    assert "No space left" in pool.last_death
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    run_until(loop, lambda: any(pool.instances()))
    (found,) = pool.instances()
    send_signal(found.pidfd, signal.SIGKILL)
    run_until(loop, lambda: found not in pool.instances())


def test_a_name_under_which_nobody_could_listen_is_taken_anew(
    loop: Loop, runtime_dir: Path, next_watch_fails: Fails
) -> None:
    met: list[Peer] = []
    listener = Listener(loop, runtime_dir, met.append)
    (runtime_dir / "control.sock").unlink()
    next_watch_fails()
    with pytest.raises(OSError, match="No space left"):
        listener.keep()
    listener.keep()
    connection = connect(runtime_dir)
    run_until(loop, lambda: bool(met))
    connection.close()
    for peer in met:
        peer.close()
    listener.close()


def test_a_port_on_which_nobody_could_listen_is_taken_anew(loop: Loop, next_watch_fails: Fails) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    met: list[socket.socket] = []
    door = PortDoor(loop, met.append, bool, "127.0.0.1", port)
    next_watch_fails()
    with pytest.raises(OSError, match="No space left"):
        door.keep()
    door.keep()
    with socket.create_connection(("127.0.0.1", port)):
        run_until(loop, lambda: bool(met))
    met[0].close()
    door.close()


def test_a_keeper_that_could_not_watch_its_supervisor_does_once_it_can(
    loop: Loop, runtime_dir: Path, next_watch_fails: Fails
) -> None:
    keeper = Keeper(loop, runtime_dir, [sys.executable, "-S", "-c", "raise SystemExit(0)"])
    next_watch_fails()
    loop.attempt(keeper.start)
    loop.call_after(20.0, functools.partial(pytest.fail, "nobody noticed"))
    loop.run()  # until it has seen that its supervisor has ended, and well
    keeper.close()


def test_the_death_of_the_last_master_is_not_missed_for_want_of_a_descriptor(
    loop: Loop, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = spawn(PAUSE)
    masters.register(runtime_dir, child.identity)
    watch = MasterWatch(loop, runtime_dir, loop.stop)
    watch.look()
    failures, living = [1], masters.living

    def limited(path: Path) -> Any:
        if failures[0]:
            failures[0] -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return living(path)

    monkeypatch.setattr(masters, "living", limited)
    send_signal(child.pidfd, signal.SIGKILL)
    loop.call_after(20.0, functools.partial(pytest.fail, "nobody noticed"))
    loop.run()
    assert not failures[0]
    watch.close()
    reap(child.pidfd)
    os.close(child.pidfd)


def test_a_look_at_the_folder_that_fails_does_not_come_twice_as_often(loop: Loop, runtime_dir: Path) -> None:
    """As long as the disk hangs each of them fails: they would be beyond counting within a minute."""
    slow_work = SlowWork(loop)
    reader, writer = os.pipe()
    slow_work.submit(functools.partial(os.read, reader, 1), bool, bool)
    wait_for(lambda: slow_work.busy_s > 0, "the job to be begun")
    for _ in range(MOST_JOBS):
        slow_work.submit(int, bool, bool)
    folder = RuntimeFolder(loop, runtime_dir, lock=lambda: None, masters=None, slow_work=slow_work)
    loop.attempt(folder.look)
    run_until(loop, lambda: any(each.count == 3 for each in loop.guard.health.troubles()))
    assert sum(each.handler == folder.look for each in loop._timers) == 1
    os.close(writer)
    wait_for(lambda: slow_work._jobs.empty(), "the jobs to be done")
    run_until(loop, lambda: not loop.guard.health.degraded)
    slow_work.close()
    os.close(reader)
