"""What foreign code does to its process costs the instance nothing; in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.wait import wait_for

PROGRAM = """
import ctypes, logging, os, signal, subprocess, sys, threading, time
import numpy as np
import torch
from engine.instance.surroundings import Surroundings, leave

libc = ctypes.CDLL(None)
surroundings = Surroundings()
surroundings.prepare()


def wait():
    sys.stdin.readline()


print("printed", sys.argv, len(sys.orig_argv), float(torch.rand(1)), np.random.rand(), flush=False)
libc.printf(b"printed natively\\n")
wait()
# What a model's module has been seen to do.
signal.signal(signal.SIGTERM, lambda *_: None)
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.setitimer(signal.ITIMER_REAL, 0.2)
np.seterr(all="raise")
torch.set_num_threads(3)
sys.stdout.close()
os.close(1)
surroundings.restore(threads=1)
opened = os.open(os.devnull, os.O_RDONLY)
handlers = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT, signal.SIGPIPE)]
wanted = [signal.SIG_DFL, signal.SIG_IGN, signal.SIG_IGN]
print("printed again", opened > 2, handlers == wanted, torch.get_num_threads(), np.geterr()["over"], "\\ud800")
wait()  # longer than the alarm would have taken
threading.Thread(target=time.sleep, args=(300,)).start()
child = subprocess.Popen(["sleep", "300"])
sys.stdout.write(f"{child.pid} and no end of the line")
leave(7)
"""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    """In a session of its own, as an instance is."""
    started = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "--of", "ours"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    with started:
        yield started
        started.kill()


def go_on(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_model_may_print_close_and_reset_what_it_likes_and_start_what_never_ends(
    process: subprocess.Popen[str],
) -> None:
    assert process.stdout is not None and process.stderr is not None
    lines = {process.stdout.readline() for _ in range(2)}  # there while the process waits
    assert lines == {"printed ['nightscan-instance'] 1 0.49625658988952637 0.5488135039273248\n", "printed natively\n"}
    go_on(process)
    assert process.stdout.readline() == "printed again True True 1 warn \\ud800\n"
    go_on(process)
    last = process.stdout.read()
    assert process.wait(20) == 7, process.stderr.read()
    child, _, words = last.partition(" ")
    assert words == "and no end of the line"
    wait_for(lambda: not is_alive(int(child)), "what the model has started ends with it")


FULL = """
import sys
from engine.instance.surroundings import Surroundings, leave

Surroundings().prepare()
for _ in range(3):
    print("x" * 100_000)
    print("y" * 100_000, file=sys.stderr)
leave(0)
"""


def test_a_log_that_is_full_or_that_nobody_reads_fails_no_print() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open("/dev/full", "wb") as full:
        ended = subprocess.run([sys.executable, "-c", FULL], stdout=writer, stderr=full, timeout=60)
    os.close(writer)
    assert ended.returncode == 0


def test_an_instance_goes_behind_the_frontends_of_its_machine() -> None:
    program = (
        "import os; from engine.instance.surroundings import give_way; give_way(); "
        "print(os.nice(0), open('/proc/self/autogroup').read() if os.path.exists('/proc/self/autogroup') else '')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, start_new_session=True
    )
    before = os.nice(0)
    niceness, *group = done.stdout.split()
    assert int(niceness) == min(19, before + 2)
    assert not group or group[-1] == "2"
