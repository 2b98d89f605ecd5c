"""A store that is killed, frozen, slow or refuses: every request is answered, health says why, and all heals."""

from __future__ import annotations

from tests.faults.store_faults import FAULTS, REASONS
from tests.faults.store_rig import StoreRig, health_of, store_rig, wait_reason, wait_sent, wait_well
from tests.support.server import ServerProcess
from tests.support.wait import wait_for

SUITE = ("killed", "frozen")  # `tests.stress.stores` has all, of each store alone, and for long
FEW = 20  # answers that show that the load runs
MORE = 50


def hit(rig: StoreRig, fault: str) -> None:
    """Both servers at once."""
    for faults in FAULTS.values():
        faults[fault].hit(rig)


def mend(rig: StoreRig, fault: str) -> None:
    for faults in FAULTS.values():
        faults[fault].mend(rig)


def wait_reasons(process: ServerProcess) -> None:
    for reason in REASONS.values():
        wait_reason(process, reason)


def test_no_request_fails_whatever_becomes_of_both_stores_and_all_heals() -> None:
    """Away at the start, then each fault of both at once under load; at the end every answer is one row in Postgres."""
    with store_rig() as rig:
        hit(rig, "refusing")
        with rig.server(workers=2, cache_l1_mb=4) as process:  # it is ready with neither of them there
            away_at_the_start(rig, process)
            for fault in SUITE:
                print(f"both are {fault}")
                away_under_load(rig, process, fault)
            recorded = wait_sent(process)
            assert rig.postgres_rows() == recorded


def away_at_the_start(rig: StoreRig, process: ServerProcess) -> None:
    with rig.load(process) as heard:
        wait_reasons(process)
        assert health_of(process)["active_connections"] == {"database": False, "redis": False}
        mend(rig, "refusing")
        wait_well(process)
    heard.check()


def away_under_load(rig: StoreRig, process: ServerProcess, fault: str) -> None:
    with rig.load(process) as heard:
        wait_for(lambda: len(heard.answers) > FEW, "the load runs")
        hit(rig, fault)
        wait_reasons(process)
        before = len(heard.answers)
        wait_for(lambda: len(heard.answers) > before + MORE, "answers go on with both away")
        mend(rig, fault)
        wait_well(process)
    heard.check()
