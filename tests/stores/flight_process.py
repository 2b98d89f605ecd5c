"""A process that joins flights as it is told: `python -m tests.stores.flight_process FD`.

A line in: `join NAME NUMBER LEVEL SECONDS`, `finish NAME TEXT`, `fail NAME TEXT`, `disperse NAME`, `release NAME`,
`cancel NAME`. A line out for what `join` returns or calls back: `NAME leader`, `NAME follower`, `NAME value TEXT`,
`NAME error CODE TEXT`; and `NAME cancelled True`.
"""

from __future__ import annotations

import sys

from engine.clock import Deadline
from engine.errors import EngineError, ModelFailed
from engine.shm.cache_record import CacheRecord, RecordKind
from engine.shm.l1 import L1
from engine.stores.flight_roles import Follower, Leader, Outcome
from engine.stores.single_flight import SingleFlight
from tests.shm.cache_rig import AT, in_ms, key_of, mapped


class Joined:
    """What became of each name."""

    def __init__(self, fd: int) -> None:
        self.l1 = L1(fd, AT, mapped(fd), lambda name, n: None)
        self.flights = SingleFlight(lambda name, n: None)
        self.flights.meet(fd, self.l1)
        self.leaders: dict[str, Leader] = {}
        self.followers: dict[str, Follower] = {}

    def join(self, name: str, number: str, level: str, seconds: str) -> None:
        deadline = Deadline.after_s(float(seconds))
        found = self.flights.join(key_of(int(number)), int(level), deadline.at_ns, lambda got: self.say(name, got))
        if isinstance(found, Follower):
            self.followers[name] = found
            print(name, "follower", flush=True)
        else:
            self.say(name, found)

    def say(self, name: str, outcome: Outcome) -> None:
        if isinstance(outcome, Leader):
            self.leaders[name] = outcome
            print(name, "leader", flush=True)
        elif isinstance(outcome, EngineError):
            print(name, "error", outcome.code, outcome, flush=True)
        else:
            print(name, "value", outcome.value.decode(), flush=True)

    def finish(self, name: str, text: str) -> None:
        record = CacheRecord(text.encode(), in_ms(3600), RecordKind.ANSWER)
        leader = self.leaders[name]
        kept = self.l1.put(leader.key, record.value, record.expires_at_ms)
        leader.finish(record, is_kept=kept)

    def fail(self, name: str, text: str) -> None:
        self.leaders[name].fail(ModelFailed(text))

    def disperse(self, name: str) -> None:
        self.leaders[name].disperse()

    def release(self, name: str) -> None:
        self.leaders[name].release()

    def cancel(self, name: str) -> None:
        print(name, "cancelled", self.followers[name].cancel(), flush=True)


def main() -> None:
    joined = Joined(int(sys.argv[1]))
    for line in sys.stdin:
        verb, *words = line.split()
        getattr(joined, verb)(*words)
    joined.flights.close()
    joined.l1.close()


if __name__ == "__main__":
    main()
