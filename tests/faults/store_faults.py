"""What can happen to a store, and how it ends: by name, for each server alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.faults.store_rig import POSTGRES_AWAY, REDIS_AWAY, StoreRig

SLOW_S = 3.0  # every piece of data, either way


class StoreFault(NamedTuple):
    """One fault of one server."""

    hit: Callable[[StoreRig], object]
    mend: Callable[[StoreRig], object]


FAULTS: dict[str, dict[str, StoreFault]] = {
    "redis": {
        "killed": StoreFault(lambda rig: rig.redis.kill(), lambda rig: rig.redis.start()),
        "frozen": StoreFault(lambda rig: rig.redis.freeze(), lambda rig: rig.redis.thaw()),
        "refusing": StoreFault(lambda rig: rig.redis_proxy.refuse(), lambda rig: rig.redis_proxy.come_back()),
        "slow": StoreFault(lambda rig: rig.redis_proxy.slow(SLOW_S), lambda rig: rig.redis_proxy.come_back()),
    },
    "postgres": {
        "killed": StoreFault(lambda rig: rig.postgres.kill(), lambda rig: rig.postgres.start()),
        "frozen": StoreFault(lambda rig: rig.postgres.freeze(), lambda rig: rig.postgres.thaw()),
        "refusing": StoreFault(lambda rig: rig.postgres_proxy.refuse(), lambda rig: rig.postgres_proxy.come_back()),
        "slow": StoreFault(lambda rig: rig.postgres_proxy.slow(SLOW_S), lambda rig: rig.postgres_proxy.come_back()),
    },
}
REASONS = {"redis": REDIS_AWAY, "postgres": POSTGRES_AWAY}
NAMES = tuple(FAULTS["redis"])
