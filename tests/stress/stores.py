"""Long outages of one store at a time, under load: `python -m tests.stress.stores [--outage 60] [--only redis]`.

For each server and fault it prints how many requests were answered, their p99 before the fault and from its second
second on, when health said why, and how long after the end all was well. It ends with 1 if a request failed.
"""

from __future__ import annotations

import argparse
import time

from tests.faults.store_faults import FAULTS, NAMES, REASONS, StoreFault
from tests.faults.store_rig import MS_PER_S, StoreRig, store_rig, wait_reason, wait_sent, wait_well
from tests.support.server import ServerProcess
from tests.support.wait import wait_for

QUIET_S = 5.0


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress.stores", description=__doc__)
    parser.add_argument("--outage", type=float, default=60.0, metavar="S", help="length of each outage")
    parser.add_argument("--only", choices=sorted(FAULTS), help="one server")
    parser.add_argument("--fault", choices=NAMES, help="one fault")
    options = parser.parse_args()
    failed = 0
    servers = (options.only,) if options.only else tuple(FAULTS)
    with store_rig() as rig, rig.server(stores=servers, workers=2, cache_l1_mb=16) as process:
        wait_well(process)
        for server in servers:
            for name in (options.fault,) if options.fault else NAMES:
                failed += _round(rig, process, server, name, options.outage)
        recorded = wait_sent(process, timeout_s=120)
        if "postgres" in servers:
            failed += abs(recorded - rig.postgres_rows())
    return int(failed > 0)


def _round(rig: StoreRig, process: ServerProcess, server: str, name: str, outage_s: float) -> int:
    """One outage; how many requests failed."""
    fault: StoreFault = FAULTS[server][name]
    with rig.load(process) as heard:
        _pass(QUIET_S)
        hit_at = time.monotonic()
        fault.hit(rig)
        wait_reason(process, REASONS[server], timeout_s=30)
        told_s = time.monotonic() - hit_at
        _pass(max(0.0, hit_at + outage_s - time.monotonic()))
        mended_at = time.monotonic()
        fault.mend(rig)
        healed_s = wait_well(process, timeout_s=60)
    failed = len(heard.failures) + sum(each.status != 200 for each in heard.answers)
    before = heard.quantile_s(0.99, before_s=hit_at) * MS_PER_S
    during = heard.quantile_s(0.99, after_s=hit_at + 1, before_s=mended_at) * MS_PER_S
    print(
        f"{server} {name} for {outage_s:.0f} s: {len(heard.answers)} answered, {failed} failed; "
        f"p99 {before:.1f} ms before, {during:.1f} ms in it; told after {told_s:.1f} s, well {healed_s:.1f} s after",
        flush=True,
    )
    return failed


def _pass(duration_s: float) -> None:
    over_at = time.monotonic() + duration_s
    wait_for(lambda: time.monotonic() >= over_at, "time to pass", timeout_s=duration_s + 5)


if __name__ == "__main__":
    raise SystemExit(main())
