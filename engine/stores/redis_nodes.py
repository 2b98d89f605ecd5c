"""The servers that a process knows: a `NodePool` and a `NodeKeeper` for each."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from engine.core.breaker import BreakerState
from engine.stores.node_keeper import Connect, NodeKeeper
from engine.stores.node_pool import NodePool
from engine.stores.pool import PoolStatistics
from engine.stores.redis_address import RedisNode

NONE_YET = PoolStatistics(0, 0, 0, 0, 0, 0, 0.0, BreakerState.CLOSED, 0)


class RedisNodes:
    """Changed by one thread, read by any: `pools` is replaced as a whole."""

    def __init__(self, connect: Connect, *, minimum: int, open_s: float) -> None:
        self._connect = connect
        self._minimum = minimum
        self._open_s = open_s
        self._keepers: dict[RedisNode, NodeKeeper] = {}
        self._leaving: list[NodeKeeper] = []
        self.pools: Mapping[RedisNode, NodePool] = {}

    def follow(self, nodes: Collection[RedisNode], limit: int) -> None:
        """From now on these are the servers, with up to `limit` connections to each."""
        for gone in self._keepers.keys() - set(nodes):
            keeper = self._keepers.pop(gone)
            keeper.close(wait_s=0.0)
            self._leaving.append(keeper)
        for node in set(nodes) - self._keepers.keys():
            pool = NodePool(node, minimum=self._minimum)
            pool.set_limit(limit)
            self._keepers[node] = NodeKeeper(pool, self._connect, open_s=self._open_s)
            self._keepers[node].start()
        self.pools = {node: keeper.pool for node, keeper in self._keepers.items()}

    def set_limit(self, limit: int) -> int:
        """The most connections to each from now on. How many are open to the server that has most of them."""
        return max((pool.set_limit(limit) for pool in self.pools.values()), default=0)

    def statistics(self) -> PoolStatistics:
        """Of all together; servers that are no more count with what they have counted. The worst of the breakers."""
        now = [pool.statistics() for pool in self.pools.values()]
        return summed([*now, *(_past(keeper.pool.statistics()) for keeper in self._leaving)])

    def close(self, *, wait_s: float) -> None:
        """Closes all connections, and waits up to `wait_s` for each thread."""
        self._leaving += self._keepers.values()
        self._keepers, self.pools = {}, {}
        for keeper in self._leaving:
            keeper.close(wait_s=0.0)
        for keeper in self._leaving:
            keeper.close(wait_s=wait_s)


def _past(statistics: PoolStatistics) -> PoolStatistics:
    return statistics._replace(in_use=0, idle=0, waiting=0, breaker=BreakerState.CLOSED, max_connections=0)


def summed(all_of: Iterable[PoolStatistics]) -> PoolStatistics:
    """Of several pools as if they were one."""
    columns = list(zip(NONE_YET, *all_of, strict=True))
    at = PoolStatistics._fields.index("breaker")
    sums = [max(column) if k == at else sum(column) for k, column in enumerate(columns)]
    return PoolStatistics(*sums)
