"""A process that forks keeps what it has, whatever its child does; the child is told what to do instead."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from engine.client import EngineClient
from engine.errors import EngineError, InheritedByFork
from tests.client.hand import Hand
from tests.client.stage import PATIENCE_S, Stage, settings_of, wait_until
from tests.client.test_submit import first, item, submit
from tests.shm.rig import Rig, python_child, says, wait_readable

Attach = Callable[..., EngineClient]
Answer = Callable[[], str]

CHILD_S = 20  # a child that waits for a lock that nobody holds is ended by then


def by_os_fork(function: Answer) -> str:
    """What `function` returns in a forked child."""
    read_fd, write_fd = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of what is tried here
        pid = os.fork()
    if pid == 0:
        _answer_and_exit(function, write_fd)
    os.close(write_fd)
    with os.fdopen(read_fd) as answer:
        text = answer.read()
    assert os.waitpid(pid, 0)[1] == 0, text
    return text


def _answer_and_exit(function: Answer, write_fd: int) -> None:
    signal.alarm(CHILD_S)
    try:
        os.write(write_fd, function().encode())
    except BaseException as error:
        os.write(write_fd, repr(error).encode())
        os._exit(1)
    os._exit(0)


def by_a_thread(function: Answer) -> str:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(by_os_fork(function)))
    thread.start()
    thread.join()
    return found[0]


def by_multiprocessing(function: Answer) -> str:
    read_fd, write_fd = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = multiprocessing.get_context("fork").Process(target=_answer_and_exit, args=(function, write_fd))
        child.start()
    os.close(write_fd)
    with os.fdopen(read_fd) as answer:
        text = answer.read()
    child.join()
    assert child.exitcode == 0, text
    child.close()
    return text


WAYS = [by_os_fork, by_a_thread, by_multiprocessing]


def outcome(action: Callable[[], object]) -> str:
    """What an action of the child ends in."""
    try:
        action()
        return "nothing"
    except EngineError as error:
        return error.code


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.close()


@pytest.mark.parametrize("fork", WAYS)
def test_a_child_that_exits_leaves_its_parent_the_lane(
    stage: Stage, attach: Attach, fork: Callable[[Answer], str]
) -> None:
    version = stage.deploy()
    stage.start_instance(version)
    client = attach()
    before = submit(client, item(1))

    def leave() -> str:
        before.cancel()
        client.close()
        return "left"

    assert fork(leave) == "left"
    assert first(before.wait()) == [1] and first(submit(client, item(2)).wait()) == [2]
    stage.tell_state("echo", "closing", version=1)  # by the connection, which the child has not spoken on
    wait_until(lambda: client.state("echo") == "closing", "the parent still hears")
    assert [message["type"] for message in stage.received] == ["hello"]
    assert version.steward.owner_of(0).pid == os.getpid()


def test_every_use_of_an_inherited_client_says_what_to_do(stage: Stage, attach: Attach) -> None:
    version = stage.deploy()
    client = attach()
    ticket = submit(client, item(1))
    description = client.description

    def uses() -> str:
        codes = [
            outcome(lambda: submit(client, item(2))),
            outcome(lambda: client.request("status", timeout_s=1)),
            outcome(lambda: client.use_event_loop(None)),
            outcome(lambda: client.prefer_event_loop(None)),
            outcome(lambda: description("echo")),
            outcome(lambda: client.state("echo")),
            outcome(lambda: ticket.wait()),
        ]
        quiet = [
            outcome(lambda: client.count("cache_hits", deployment_id="echo")),
            outcome(ticket.cancel),
            outcome(ticket.expire),
            outcome(client.close),
        ]
        return f"{set(codes)} {set(quiet)} {client.ready('echo')} {client.attachment('echo')} {client.deployments()}"

    assert by_os_fork(uses) == "{'FORKED'} {'nothing'} False None []"
    assert "in this one" in str(InheritedByFork())
    assert version.steward.counts().ready == 1 and not ticket.done
    with Hand(version) as hand:
        hand.serve()
        assert first(ticket.wait()) == [1]


def test_a_child_has_neither_descriptors_nor_mappings_of_its_parents_client(stage: Stage, attach: Attach) -> None:
    version = stage.deploy()
    stage.start_instance(version)
    of_the_stage = _descriptors(), _mapped()
    client = attach()
    first(submit(client, item(1)).wait())
    assert len(_descriptors()) >= len(of_the_stage[0]) + 8 and _mapped() == of_the_stage[1] + 1

    def look() -> str:
        return f"{len(_descriptors() - of_the_stage[0])} {_mapped() - of_the_stage[1]}"

    # Left are the stage's own end of the connection, in this same process, the pipe of this test, and the listing.
    assert by_os_fork(look) == "3 0"


def _descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


def _mapped() -> int:
    return sum("nightscan-segment" in line for line in Path("/proc/self/maps").read_text().splitlines())


@pytest.mark.parametrize("fork", WAYS)
def test_a_child_may_attach_by_itself(stage: Stage, attach: Attach, fork: Callable[[Answer], str]) -> None:
    version = stage.deploy()
    stage.start_instance(version)
    client = attach()

    def work() -> str:
        own = EngineClient.attach(runtime_dir=stage.runtime_dir, wait_s=PATIENCE_S, settings=settings_of())
        answers = first(submit(own, item(5), item(6)).wait())
        own.close()
        return f"{answers} {len(client.deployments())}"

    assert fork(work) == "[5.0, 6.0] 0"
    assert first(submit(client, item(7)).wait()) == [7]


def test_locks_that_others_held_at_the_fork_stop_nobody(stage: Stage, attach: Attach) -> None:
    """All at once, by a thread that does not exist in the child; the lease too, which stays the parent's."""
    version = stage.deploy()
    client = attach()
    ticket = submit(client, item(1))
    attachment, deployment = client.attachment("echo"), client._find("echo")
    assert attachment is not None
    held, done = threading.Event(), threading.Event()
    locks: list[AbstractContextManager[Any]] = [
        client._lifecycle, client._wheel._lock, client._contact.questions._lock, deployment.counters._lock,
        ticket._lock, deployment.dispatcher._pump_lock, deployment.dispatcher._line._lock, attachment.owner._lock,
        attachment.board._lock, deployment.versions._lock, attachment._lease,
    ]  # fmt: skip

    def hold() -> None:
        with ExitStack() as stack:
            for lock in locks:
                stack.enter_context(lock)
            held.set()
            done.wait(PATIENCE_S)

    def use() -> str:
        codes = [outcome(lambda: submit(client, item(2))), outcome(ticket.wait)]
        ticket.cancel()
        client.close()
        own = EngineClient.attach(runtime_dir=stage.runtime_dir, wait_s=PATIENCE_S, settings=settings_of())
        submit(own, item(3)).cancel()
        own.close()
        return " ".join(codes)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        assert held.wait(PATIENCE_S)
        assert by_os_fork(use) == "FORKED FORKED"
        with Hand(version) as hand:
            assert not hand.can_take
    finally:
        done.set()
        thread.join()
    with Hand(version) as hand:
        assert hand.can_take
        hand.serve()
        assert first(ticket.wait()) == [1]


HOLDER_WITH_CHILD = """
import os, sys, time
from engine.shm.lease import Lease
lease = Lease(int(sys.argv[1]))
with lease:
    if os.fork() == 0:
        try:
            lease.try_acquire()
        except Exception as error:
            print(os.getpid(), type(error).__name__, flush=True)
        lease.release()
        sys.stdin.read()
        os._exit(0)
    sys.stdin.read()
"""


def test_a_forked_child_does_not_keep_the_lease_of_its_dead_parent(rig: Rig) -> None:
    lease = rig.lease()
    with python_child(HOLDER_WITH_CHILD, [rig.segment.fd]) as holder:
        child_pid, error = says(holder).split()
        assert error == "InternalError" and not lease.try_acquire()  # still its parent's
        pidfd, child_pidfd = os.pidfd_open(holder.pid), os.pidfd_open(int(child_pid))
        holder.kill()
        wait_readable(pidfd)
        assert lease.try_acquire()
        lease.release()
        signal.pidfd_send_signal(child_pidfd, signal.SIGKILL)  # it lived until here
        wait_readable(child_pidfd)
        os.close(pidfd)
        os.close(child_pidfd)
