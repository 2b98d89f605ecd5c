"""What the cache costs a request, step by step: `python -m benchmarks.cache [--rounds 10]`.

Microseconds, p50 and p99 of each step, medians over rounds in which all steps are measured in turn. The records lie in
a cache of 16 MB that is full, and that another process keeps writing into meanwhile; each key is new, so that nothing
is warm but what is warm in a frontend. `python -m benchmarks.kept` measures the same through whole requests.
"""

from __future__ import annotations

import argparse
import hashlib
import mmap
import os
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from engine.clock import LAST_NS, now_ns, wall_clock_s
from engine.core.bypass import Bypass
from engine.core.repeats import look_of
from engine.shm.cache_record import CacheRecord, RecordKind
from engine.shm.l1 import L1, prepare_cache
from engine.stores.flight_roles import Leader
from engine.stores.single_flight import SingleFlight

AREA_BYTES = 16 << 20
WRITERS = 4
CALLS = 2000  # of each step in each round
HEADER_BYTES, WINDOW_BYTES, CLASS_BYTES = 48, 24, 4  # of a value: see `engine/stores/cache_value.py`
VALUES = {  # windows, classes
    "1 window x 10 classes": (1, 10),
    "10 x 10": (10, 10),
    "60 x 50": (60, 50),
    "600 x 250": (600, 250),
}
FILES = {"44 KB": 44_000, "353 KB": 353_000, "1 MB": 1_000_000}
PAUSE_S = 0.0005  # of the process that writes meanwhile, between two values

Timed = dict[str, list[tuple[float, float]]]  # by step: p50 and p99 of each round, us


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--write-into", type=int, help=argparse.SUPPRESS)  # what the other process is started with
    options = parser.parse_args()
    if options.write_into is not None:
        write_for_ever(options.write_into)
    fd = os.memfd_create("benchmark-cache")
    os.ftruncate(fd, AREA_BYTES)
    area = mapped(fd)
    prepare_cache(fd, 0, area, WRITERS)
    command = [sys.executable, "-m", "benchmarks.cache", "--write-into", str(fd)]
    with subprocess.Popen(command, pass_fds=[fd]) as other:
        try:
            report(measured(fd, area, options.rounds))
        finally:
            other.send_signal(signal.SIGKILL)
    return 0


def measured(fd: int, area: memoryview, rounds: int) -> Timed:
    """All steps, round by round."""
    l1 = L1(fd, 0, area, lambda name, n: None)
    flights = SingleFlight(lambda name, n: None)
    flights.meet(fd, l1)
    fill(l1)
    timed: Timed = defaultdict(list)
    for _ in range(rounds):
        of_values(l1, timed)
        of_files(timed)
        of_flights(l1, flights, timed)
        of_bypass(timed)
    flights.close()
    l1.close()
    return timed


def of_values(l1: L1, timed: Timed) -> None:
    for name, (windows, classes) in VALUES.items():
        value = os.urandom(HEADER_BYTES + windows * (WINDOW_BYTES + classes * CLASS_BYTES))
        calls = max(8, min(CALLS, l1.largest_value_bytes // len(value)))  # as many as are there when they are looked up
        keys = [os.urandom(32) for _ in range(calls)]
        until_ms = int((wall_clock_s() + 3600) * 1000)
        add(timed, f"put, {name} ({len(value)} bytes)", lambda key: l1.put(key, value, until_ms), keys)
        add(timed, f"look-up and check, {name}", l1.get, keys)
    add(timed, "look-up of what is not there", l1.get, [os.urandom(32) for _ in range(CALLS)])


def of_files(timed: Timed) -> None:
    for name, size in FILES.items():
        bodies = [memoryview(os.urandom(size)) for _ in range(20)] * 5
        add(timed, f"SHA-256 of {name}", lambda body: hashlib.sha256(body).digest(), bodies)
        add(timed, f"what it looks like, {name}", look_of, bodies)


def of_flights(l1: L1, flights: SingleFlight, timed: Timed) -> None:
    leaders: list[Leader] = []

    def join(key: bytes) -> None:
        found = flights.join(key, 0, LAST_NS, lambda outcome: None)
        assert isinstance(found, Leader)
        leaders.append(found)

    record = CacheRecord(b"", 0, RecordKind.ANSWER)
    keys = [os.urandom(32) for _ in range(16)]  # as many as are computed at a time
    add(timed, "single-flight: to lead", join, keys)
    add(timed, "single-flight: to finish", lambda leader: leader.finish(record, is_kept=True), leaders)


def of_bypass(timed: Timed) -> None:
    bypass = Bypass(has_l2=True)
    looks = [int.from_bytes(os.urandom(8), "little") & ~1 for _ in range(CALLS)]
    for look in looks:
        bypass.asked_l1(bypass.choose(look), cost_ns=60_000, hit=False)
        bypass.computed(300_000)
    assert bypass.skips_l1
    add(timed, "bypass: to choose", bypass.choose, [int.from_bytes(os.urandom(8), "little") & ~1 for _ in range(CALLS)])


def add(timed: Timed, step: str, call: Callable[..., object], arguments: Sequence[object]) -> None:
    """Calls once with each, and adds what it took."""
    took_ns = []
    for argument in arguments:
        begun_ns = now_ns()
        call(argument)
        took_ns.append(now_ns() - begun_ns)
    took_ns.sort()
    timed[step].append((took_ns[len(took_ns) // 2] / 1000, took_ns[len(took_ns) * 99 // 100] / 1000))


def fill(l1: L1) -> None:
    """More than there is room for."""
    until_ms = int((wall_clock_s() + 3600) * 1000)
    for _ in range(AREA_BYTES // WRITERS // 256 + 1000):
        l1.put(os.urandom(32), bytes(150), until_ms)


def write_for_ever(fd: int) -> None:
    """The other process."""
    l1 = L1(fd, 0, mapped(fd), lambda name, n: None)
    while True:
        l1.put(os.urandom(32), os.urandom(150), int((wall_clock_s() + 3600) * 1000))
        time.sleep(PAUSE_S)


def mapped(fd: int) -> memoryview:
    return memoryview(mmap.mmap(fd, AREA_BYTES))


def report(timed: Timed) -> None:
    print(f"{'step':52} {'p50 us':>8} {'p99 us':>8}")
    for step, rounds in timed.items():
        p50, p99 = (statistics.median(each[k] for each in rounds) for k in (0, 1))
        print(f"{step:52} {p50:8.1f} {p99:8.1f}")


if __name__ == "__main__":
    sys.exit(main())
