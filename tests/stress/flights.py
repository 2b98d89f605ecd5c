"""Processes that want the same answers, killed while they compute: `python -m tests.stress.flights [--kills 300]`.

Each keeps some requests in flight for a few keys. Who leads computes for some milliseconds and then finishes, fails, is
of no use to others, gives up, or is killed. Ends with status 1 if anybody was told something wrong, twice, or not at
all, or if two led at one time for a key at a level.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from engine.clock import NS_PER_MS, NS_PER_S, now_ns
from engine.core.aging import LEVELS
from engine.errors import DeadlineExceeded, ModelFailed
from engine.shm.cache_record import CacheRecord, RecordKind
from engine.shm.l1 import L1
from engine.stores.flight_roles import Follower, Leader, Outcome
from engine.stores.single_flight import SingleFlight
from tests.shm.cache_rig import AT, CacheRig, in_ms, key_of
from tests.stress.l1 import buried

PROCESSES = 4
KEYS = 6
AT_ONCE = 12  # requests of one process
KEPT_S = 0.03  # an answer is found for so long, then it is computed anew
COMPUTES_MS = (0, 15)
HURRIES_S, HAS_TIME_S = (0.002, 0.05), 90.0  # until deadlines: of who may not be answered, and of who must
LAST_S = 0.5  # of those who are not killed
LATE_NS = 20 * NS_PER_S  # for a machine that is busy with other things; who waits for somebody dead waits for ever
WRONG = 42
EXITING = 0x4  # of a process's flags, as the kernel shows them
LEVEL_WORDS = len(LEVELS)


@dataclass(eq=False)
class Request:
    """One that is in flight."""

    number: int
    level: int
    deadline_ns: int
    late_ns: int  # nothing takes so long but waiting for somebody dead
    outcome: Outcome | None = None
    told: int = 0
    follower: Follower | None = None
    ends_ns: int = 0  # of the computation, for a leader

    def tell(self, outcome: Outcome) -> None:
        """In any thread."""
        self.outcome = outcome
        self.told += 1


class Life:
    """One process, which its parent ends, or asks to end by SIGTERM."""

    def __init__(self, rig: CacheRig, seed: int, leading: memoryview) -> None:
        self.chance = random.Random(seed)
        self.leading = leading  # [key, level]: the pid of who leads
        self.l1 = L1(rig.fd, AT, rig.area, lambda name, n: None)
        self.flights = SingleFlight(lambda name, n: None)
        self.flights.meet(rig.fd, self.l1)
        self.flying: list[Request] = []
        self.is_to_end = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self.is_to_end.set())

    def run(self) -> str:
        """What was wrong, once asked to end."""
        while self.flying or not self.is_to_end.is_set():
            while len(self.flying) < AT_ONCE and not self.is_to_end.is_set():
                self.begin()
            for request in list(self.flying):
                if wrong := self.step(request):
                    return wrong
            time.sleep(0.001)  # a turn of a loop that has other things to do
        self.flights.close()
        return ""

    def begin(self) -> None:
        chance = self.chance
        wait_s = chance.uniform(*HURRIES_S) if chance.random() < 0.3 else HAS_TIME_S
        deadline_ns = now_ns() + int(wait_s * NS_PER_S)
        request = Request(chance.randrange(KEYS), chance.choice(LEVELS), deadline_ns, late_ns=now_ns() + LATE_NS)
        found = self.flights.join(key_of(request.number), request.level, deadline_ns, request.tell)
        if isinstance(found, Follower):
            request.follower = found
        else:
            request.tell(found)
        self.flying.append(request)

    def step(self, request: Request) -> str:
        """What is wrong with it."""
        if request.told > 1:
            return f"told {request.told} times"
        outcome = request.outcome
        if isinstance(outcome, Leader):
            return self.compute(request, outcome)
        if outcome is None:
            return self.wait(request)
        self.flying.remove(request)
        if isinstance(outcome, CacheRecord):
            return "" if outcome.value == b"%d" % request.number else f"{outcome.value!r} for {request.number}"
        if isinstance(outcome, DeadlineExceeded):
            return "" if now_ns() >= request.deadline_ns else "out of time before its time"
        return "" if str(outcome) == f"input {request.number}" else f"{outcome!r} for {request.number}"

    def wait(self, request: Request) -> str:
        if now_ns() > request.late_ns:
            return f"nobody told request {request.number} at level {request.level} anything"
        hangs_up = not self.is_to_end.is_set() and self.chance.random() < 0.001
        if hangs_up and request.follower is not None and request.follower.cancel():
            self.flying.remove(request)
        return ""

    def compute(self, request: Request, leader: Leader) -> str:
        if not request.ends_ns:
            request.ends_ns = now_ns() + int(self.chance.uniform(*COMPUTES_MS) * NS_PER_MS)
            return "" if leader.is_alone else self.take_place(request)
        if now_ns() < request.ends_ns:
            return ""
        if not leader.is_alone:
            self.leading[self.place(request)] = 0
        self.end(request, leader)
        self.flying.remove(request)
        return ""

    def end(self, request: Request, leader: Leader) -> None:
        how = self.chance.random() if not self.is_to_end.is_set() else 1.0  # then nobody is rescued by who comes later
        if how < 0.5:
            record = CacheRecord(b"%d" % request.number, in_ms(KEPT_S), RecordKind.ANSWER)
            leader.finish(record, is_kept=self.l1.put(leader.key, record.value, record.expires_at_ms))
        elif how < 0.7:
            leader.fail(ModelFailed(f"input {request.number}"))
        elif how < 0.8:
            leader.disperse()
        else:
            leader.release()

    def place(self, request: Request) -> int:
        return request.number * LEVEL_WORDS + LEVELS.index(request.level)

    def take_place(self, request: Request) -> str:
        """Another's is taken only if that one is dead."""
        place = self.place(request)
        other, self.leading[place] = self.leading[place], os.getpid()
        if other and (other == os.getpid() or is_alive(other)):
            return f"{other} and {os.getpid()} lead for {request.number} at level {request.level}"
        return ""


def is_alive(pid: int) -> bool:
    """Whether it may still do something; one that dies has let go of its locks before it is dead."""
    try:
        state, *others = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return state not in "ZX" and not int(others[5]) & EXITING


def begin(rig: CacheRig, seed: int, leading: memoryview) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            wrong = Life(rig, seed, leading).run()
            code = WRONG if wrong else 0
            print(end=f"{os.getpid()}: {wrong}\n" if wrong else "", flush=True)
        finally:
            os._exit(code)
    return pid


def run(kills: int, seed: int) -> list[str]:
    """What was wrong. Everything random follows from the seed, but for the timing of the machine."""
    chance = random.Random(seed)
    rig = CacheRig(writers=PROCESSES - 1)  # one of them leaves nothing in L1
    leading = memoryview(mmap.mmap(-1, 8 * KEYS * LEVEL_WORDS)).cast("Q")
    alive = {begin(rig, chance.randrange(1 << 40), leading) for _ in range(PROCESSES)}
    wrong: list[str] = []
    for _ in range(kills):
        time.sleep(chance.uniform(0.001, 0.04))  # how long somebody lives, nothing that is waited for
        pid = chance.choice(sorted(alive))
        wrong += buried(pid)
        alive.remove(pid)
        if wrong:
            break
        alive.add(begin(rig, chance.randrange(1 << 40), leading))
    time.sleep(LAST_S)
    for pid in alive:
        os.kill(pid, signal.SIGTERM)
    wrong += buried(alive.pop())
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in alive]
    rig.close()
    return wrong + [f"a process ended with {code}" for code in codes if code not in (0, -signal.SIGTERM)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--seed", type=int, default=random.randrange(1, 1 << 30))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    wrong = run(options.kills, options.seed)
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
