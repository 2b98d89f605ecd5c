"""The servers never see more connections than the totals allow: through a reload and the death of the supervisor."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.faults.store_rig import StoreRig, store_rig, wait_well
from tests.serving.servers import processes_of
from tests.support.wait import wait_for

FRONTENDS = 4
REDIS_TOTAL, DATABASE_TOTAL = 6, 8
EVERY_S = 0.05
_BACKENDS = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'recorder' AND backend_type = 'client backend'"


class Counted:
    """How many connections each server has had at most, and how often that was looked at."""

    def __init__(self) -> None:
        self.redis, self.database, self.looks = 0, 0, 0


@contextmanager
def counting(rig: StoreRig) -> Iterator[Counted]:
    """Looks at both servers every 50 ms while the block runs."""
    counted, enough = Counted(), threading.Event()

    def look() -> None:
        with rig.postgres.connection("postgres") as connection:
            while not enough.wait(EVERY_S):
                ((backends,),) = connection.execute(_BACKENDS).fetchall()
                counted.database = max(counted.database, backends)
                counted.redis = max(counted.redis, len(rig.redis.connections()))
                counted.looks += 1

    thread = threading.Thread(target=look, name="counting")
    thread.start()
    try:
        yield counted
    finally:
        enough.set()
        thread.join()


def test_connections_stay_within_the_totals_through_a_reload_and_a_killed_supervisor() -> None:
    settings: dict[str, Any] = {
        "workers": FRONTENDS, "redis_max_connections": REDIS_TOTAL, "redis_min_connections": 1,
        "db_max_connections": DATABASE_TOTAL, "db_min_connections": 1,
    }  # fmt: skip
    with store_rig() as rig, counting(rig) as counted, rig.server(direct=True, **settings) as process:
        wait_well(process)
        with rig.load(process, clients=4) as heard:
            wait_for(lambda: len(heard.answers) > 50, "the load runs")
            before = set(process.workers())
            process.signal(signal.SIGHUP)
            wait_for(lambda: not before & set(process.workers()), "the old frontends are gone")
            wait_well(process)
            (supervisor,) = processes_of(process, "engine.supervisor")
            os.kill(supervisor, signal.SIGKILL)
            wait_for(lambda: processes_of(process, "engine.supervisor") not in ([], [supervisor]), "a successor")
            wait_well(process)
            settled_at = time.monotonic()
            wait_for(lambda: time.monotonic() > settled_at + 1, "a second more of it")
        heard.check()
    assert counted.looks > 40
    assert 0 < counted.redis <= REDIS_TOTAL
    assert 0 < counted.database <= DATABASE_TOTAL
