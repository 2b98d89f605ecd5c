"""A whole server whose Redis is a cluster: nodes die, others take over, and no request fails."""

from __future__ import annotations

import time

from tests.conformance.conftest import MODEL, SETTING, WAYS
from tests.faults.recordings import Recordings
from tests.faults.store_rig import MS_PER_S, Heard, load, stats_of, wait_well
from tests.services.redis_cluster import RedisCluster
from tests.support.server import ServerProcess
from tests.support.wait import wait_for

MORE = 200  # answers that show that the load runs
HEALED_S = 5.0  # after the cluster says that it is well


def test_no_request_fails_while_replicas_of_a_cluster_take_over() -> None:
    """Each of the first two primaries is killed in turn and comes back as a replica; then half the cluster at once."""
    environment = {**MODEL, f"{SETTING}WORKERS": "2", f"{SETTING}CACHE_L1_MB": "4"}
    with RedisCluster(kept=True) as cluster:
        environment[f"{SETTING}REDIS_URL"] = cluster.url
        with ServerProcess(WAYS["fast lane"], environment=environment, ready="/ready") as process:
            wait_well(process)
            with load(process, Recordings()) as heard:
                for node in cluster.nodes[:2]:
                    begun = wait_more(heard)
                    cluster.fail_over(node)
                    tell("fail-over", heard, begun, wait_healed(process))
                    node.start()
                    cluster.wait_whole()
                begun = wait_more(heard)
                away = cluster.nodes[:3]
                for node in away:
                    node.kill()
                wait_more(heard)
                for node in away:
                    node.start()
                cluster.wait_ok()
                tell("half of it away", heard, begun, wait_healed(process))
            heard.check()
            assert stats_of(process)["cache"]["l2"]["misses"] > 0


def wait_more(heard: Heard) -> float:
    """Until more answers have come; the moment."""
    before = len(heard.answers)
    wait_for(lambda: len(heard.answers) > before + MORE, "answers go on")
    return time.monotonic()


def wait_healed(process: ServerProcess) -> float:
    """The server asks the cluster again, all of it; how long that took, in seconds."""
    healed_s = wait_well(process, timeout_s=2 * HEALED_S)
    assert healed_s < HEALED_S
    return healed_s


def tell(what: str, heard: Heard, begun_s: float, healed_s: float) -> None:
    """How slow the slowest were: for whoever reads the output."""
    slow_s = heard.quantile_s(0.99, after_s=begun_s + 1)
    print(f"{what}: well {healed_s:.1f} s after the cluster, p99 from its second second on {slow_s * MS_PER_S:.1f} ms")
