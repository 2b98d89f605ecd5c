"""The lease: one holder among processes and threads, and none after SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

from engine.shm.lease import Lease
from tests.shm.rig import Rig, offered, python_child, request, says, wait_readable

HOLDER = """
import sys
from engine.shm.lease import Lease
lease = Lease(int(sys.argv[1]))
lease.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def test_one_holder_among_handles(rig: Rig) -> None:
    one, other = rig.lease(), rig.lease()
    assert one.try_acquire()
    assert not other.try_acquire()
    assert not other.acquire_within(0.01)
    one.release()
    with other:
        assert not one.try_acquire()
    assert one.acquire_within(0.0)
    one.release()


def test_threads_of_one_handle_exclude_each_other(rig: Rig) -> None:
    lease, inside, overlaps = rig.lease(), [0], [0]

    def work() -> None:
        for _ in range(500):
            with lease:
                inside[0] += 1
                overlaps[0] += inside[0] != 1
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert overlaps == [0]


def test_a_thread_that_holds_it_is_not_waited_for_by_try(rig: Rig) -> None:
    lease = rig.lease()
    tried: list[bool] = []
    with lease:
        thread = threading.Thread(target=lambda: tried.append(lease.try_acquire()))
        thread.start()
        thread.join()
    assert tried == [False]


def test_the_kernel_releases_the_lease_of_the_killed(rig: Rig) -> None:
    lease = rig.lease()
    with python_child(HOLDER, [rig.segment.fd]) as child:
        assert says(child) == "held"
        assert not lease.try_acquire()
        pidfd = os.pidfd_open(child.pid)
        child.kill()
        wait_readable(pidfd)
        assert lease.try_acquire()  # at once: once the pidfd is readable the lock is gone
        lease.release()
        os.close(pidfd)


def test_a_stopped_holder_blocks_nobody_who_must_not_wait(rig: Rig) -> None:
    """Takers wait for it; the supervisor and the frontends go on, until it is killed."""
    lane = rig.owner()
    ticket = offered(lane, request())
    assert ticket is not None
    with python_child(HOLDER, [rig.segment.fd]) as child:
        assert says(child) == "held"
        child.send_signal(signal.SIGSTOP)
        lane.abandon(ticket)
        assert rig.steward.sweep(0, bool) == 1 and lane.statistics().ready == 1
        pidfd = os.pidfd_open(child.pid)
        child.kill()
        wait_readable(pidfd)
        os.close(pidfd)
        lane.harvest()
    assert lane.statistics().free == 4


def test_an_executed_child_does_not_inherit_it(rig: Rig) -> None:
    lease, other = rig.lease(), rig.lease()
    lease.acquire()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as child:
        lease.close()
        assert other.acquire_within(10.0)
        other.release()
        child.communicate(b"\n")


def test_closing_twice_is_fine(rig: Rig) -> None:
    lease = Lease(rig.segment.fd)
    lease.acquire()
    lease.close()
    lease.close()
    assert rig.lease().try_acquire()
