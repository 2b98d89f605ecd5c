"""Readers and writers of one cache, killed while they write: `python -m tests.stress.l1 --kills 1000 [--seed N]`.

Each process looks up random keys, believes what it finds only if the value is one that was made for that key, and keeps
values of all sizes. It is killed after some milliseconds, or at a crash point in the middle of keeping. Ends with
status 1 if an answer was wrong, or an arena is not whole afterwards.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from engine import crash_points
from engine.shm.cache_arena import CacheArenas
from engine.shm.cache_layout import RECORD, RECORD_BYTES, RECORD_MAGIC, ArenaWord, CacheGeometry, record_size
from engine.shm.cache_record import unpack_record
from engine.shm.l1 import L1, geometry_of
from tests.shm.cache_rig import AT, CacheRig, in_ms, key_of

WRITERS = 3
PROCESSES = 4  # one more than there are arenas: it only reads, until somebody dies
AREA_BYTES = 800 * 1024  # the log of an arena goes round within some ten values
KEYS = 60
WRONG = 42
POINTS = ("cache.tail", "cache.record", "cache.head", "cache.hint")
LARGEST = 60_000
LIVES_MS = (1, 25)
FIGURES = ("looked up", "hits", "kept", "torn")  # one word for each process, so that none has two writers


def value_of(number: int, salt: int) -> bytes:
    """A value of a key: of a size that follows from the salt, and such that no two have a word in common."""
    word = (number << 32 | salt).to_bytes(8, "little")
    size = salt * 2654435761 % (LARGEST if salt % 4 == 0 else 3000)
    return word * (size // 8 + 1)


def is_value_of(number: int, value: bytes) -> bool:
    salt = int.from_bytes(value[:4], "little")
    return value == value_of(number, salt)


def work(rig: CacheRig, seed: int, figures: memoryview) -> int:
    """The life of one process, which its parent ends; returns only if an answer is wrong."""
    chance = random.Random(seed)
    if chance.random() < 0.5:
        crash_points.arm(f"{chance.choice(POINTS)}:{chance.randrange(1, 200)}")

    def count(name: str, n: int) -> None:
        if name == "l1.torn":
            figures[3] += n

    way = L1(rig.fd, AT, rig.area, count)
    until_ms = in_ms(3600)
    while True:
        number = chance.randrange(KEYS)
        found = way.get(key_of(number))
        figures[0] += 1
        if found is not None:
            figures[1] += 1
            if not is_value_of(number, found.value):
                return WRONG
        if found is None or chance.random() < 0.3:
            figures[2] += way.put(key_of(number), value_of(number, chance.randrange(1 << 32)), until_ms)


def damaged(area: memoryview) -> Iterator[str]:
    """What of the arenas is not as it must be at rest: whole records from TAIL to HEAD."""
    geometry = geometry_of(area)
    assert geometry is not None
    arenas = CacheArenas(area, geometry, lambda: None)
    for arena in range(geometry.arenas):
        row = arenas.row(arena).tolist()
        at, head = row[ArenaWord.TAIL], row[ArenaWord.HEAD]
        if not 0 <= head - at <= geometry.arena_bytes:
            yield f"arena {arena} goes from {at} to {head}"
        while at < head:
            at, fault = _next(area, geometry, arena, at)
            if fault:
                yield f"arena {arena}, position {at}: {fault}"


def _next(area: memoryview, geometry: CacheGeometry, arena: int, position: int) -> tuple[int, str]:
    offset = position % geometry.arena_bytes
    start, left = geometry.arena_at(arena) + offset, geometry.arena_bytes - offset
    lap_end = position + left
    if left < RECORD_BYTES:
        return lap_end, ""
    _, magic, kind, key, _, length, at, _ = RECORD.unpack_from(area, start)
    if magic != RECORD_MAGIC or at != position:
        return lap_end, "" if left < record_size(LARGEST + 8) else "nothing where a record must be"
    whole = unpack_record(bytes(area[start : start + RECORD_BYTES + length]), key, kind)
    return position + record_size(length), "" if whole else "a record that is not whole"


@contextmanager
def processes(rig: CacheRig, figures: memoryview) -> Iterator[dict[int, int]]:
    """The living ones, pid -> place among the figures; killed at the end."""
    alive: dict[int, int] = {}
    try:
        yield alive
    finally:
        for pid in alive:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def begin(rig: CacheRig, seed: int, figures: memoryview) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = work(rig, seed, figures)
        finally:
            os._exit(code)
    return pid


def run(kills: int, seed: int) -> list[str]:
    """What was wrong. Everything random follows from the seed, but for the timing of the machine."""
    chance = random.Random(seed)
    rig = CacheRig(size=AREA_BYTES, writers=WRITERS)
    shared = memoryview(mmap.mmap(-1, 8 * len(FIGURES) * PROCESSES)).cast("Q")
    deaths = 0
    wrong: list[str] = []
    with processes(rig, shared) as alive:
        while deaths < kills and not wrong:
            for place in set(range(PROCESSES)) - set(alive.values()):
                mine = shared[place * len(FIGURES) : (place + 1) * len(FIGURES)]
                alive[begin(rig, chance.randrange(1 << 40), mine)] = place
            time.sleep(chance.uniform(*LIVES_MS) / 1000)  # how long somebody lives, nothing that is waited for
            for pid in [chance.choice(list(alive)), *ended(alive)]:
                if pid in alive:
                    wrong += buried(pid)
                    del alive[pid]
                    deaths += 1
    wrong += damaged(rig.area)
    for k, name in enumerate(FIGURES):
        print(f"{name:10} {sum(shared[k :: len(FIGURES)])}")
    print(f"{'killed':10} {deaths}")
    if not sum(shared[1 :: len(FIGURES)]):
        wrong.append("nothing was ever found")
    rig.close()
    return wrong


def ended(alive: dict[int, int]) -> list[int]:
    """Those that have died by themselves; they are buried by `buried`."""
    return [pid for pid in alive if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)]


def buried(pid: int) -> list[str]:
    os.kill(pid, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return [] if code == -signal.SIGKILL else [f"process {pid} ended with {code}" + ": wrong answer" * (code == WRONG)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.randrange(1, 1 << 30))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    wrong = run(options.kills, options.seed)
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
