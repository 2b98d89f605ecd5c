"""Which servers there are: found at first, looked for again when all are lost, followed in a cluster."""

from __future__ import annotations

from engine.clock import Deadline
from engine.core.breaker import BreakerState
from engine.errors import StoreUnavailable
from engine.stores.node_keeper import COMMAND_S, LONGEST_OPEN_S, Connect
from engine.stores.node_pool import NodePool
from engine.stores.pool import PoolStatistics
from engine.stores.redis_address import RedisAddress
from engine.stores.redis_exchange import FREE_LINK_S
from engine.stores.redis_nodes import NONE_YET, RedisNodes, summed
from engine.stores.redis_scout import Scout
from engine.stores.slot_map import ASK_SLOTS, SlotMap, slot_map

LOOK_S = 0.5  # between looks where something is wrong
REFRESH_S = 5.0  # between looks at a cluster in which all is well
LOST_S = 2.0  # with no connection to any server of a cluster for so long, it is looked for anew
FORMING = "the cluster serves nothing yet"


class RedisWatch:
    """For one thread; the others read `nodes.pools` and `slots`, each replaced as a whole."""

    def __init__(self, address: RedisAddress, connect: Connect, *, minimum: int, open_s: float) -> None:
        open_s = min(open_s, LONGEST_OPEN_S)
        self.nodes = RedisNodes(connect, minimum=minimum, open_s=open_s)
        self.slots: SlotMap | None = None  # of a cluster
        self.stale = False  # anybody may set it: a server has said that our map is not right
        self._scout = Scout(address, connect, open_s=open_s)
        self._limit = 0
        self._look_at = self._lost_at = Deadline(0)

    def step(self, limit: int) -> int:
        """Follows the limit, and looks if it is time to. How many connections are open to the server with most."""
        self._limit = limit
        most = self.nodes.set_limit(limit)
        if not limit:
            self._scout.leave()
        elif self._look_at.expired or self.stale:
            stale, self.stale = self.stale, False
            self._look_at = Deadline.after_s(LOOK_S)
            if not self.nodes.pools:
                self._look_for_any()
            elif self.slots is not None or stale:
                self._look_again()
        return max(most, self._scout.open)

    # --- nothing is known -------------------------------------------------------------------------------------------

    def _look_for_any(self) -> None:
        found = self._scout.look()
        if found is None:
            return
        node, answer = found
        slots = slot_map(answer, node)
        if slots is None and isinstance(answer, list):
            self._scout.trouble = FORMING
            return
        self._scout.trouble = ""
        self._scout.leave()  # before others are opened: one of them is to a server that is among these
        self.slots = slots
        self.nodes.follow(slots.nodes if slots else [node], self._limit)
        self._lost_at = Deadline.after_s(LOST_S)

    # --- servers are known ------------------------------------------------------------------------------------------

    def _look_again(self) -> None:
        pools = list(self.nodes.pools.values())
        counted = [pool.statistics() for pool in pools]
        if any(of_one.idle + of_one.in_use for of_one in counted):
            self._lost_at = Deadline.after_s(LOST_S)
        elif self._lost_at.expired:  # nothing is open, so that the names in the address may be for the same servers
            self.nodes.follow([], 0)
            self.slots = None
            return
        any(pool.usable and self._followed(pool) for pool in pools)
        if all(pool.usable for pool in self.nodes.pools.values()):
            self._look_at = Deadline.after_s(REFRESH_S)

    def _followed(self, pool: NodePool) -> bool:
        """Whether that server could be asked, and its map is followed now."""
        try:
            with pool.acquire(FREE_LINK_S) as link:
                slots = slot_map(link.ask([ASK_SLOTS], Deadline.after_s(COMMAND_S))[0], pool.node)
        except StoreUnavailable:
            return False
        if slots is None:
            return False
        self.slots = slots
        self.nodes.follow(slots.nodes, self._limit)
        return True

    # --- seen, and its end ------------------------------------------------------------------------------------------

    @property
    def trouble(self) -> str:
        """Why a server is not used; "" when all is well."""
        if not self._limit:
            return ""
        return next((pool.trouble for pool in self.nodes.pools.values() if pool.trouble), self._scout.trouble)

    def statistics(self) -> PoolStatistics:
        """Of all servers together; where none is known, of the search for one."""
        scout = self._scout
        state = BreakerState.OPEN if scout.trouble else BreakerState.CLOSED
        most = 0 if self.nodes.pools else max(self._limit, scout.open)
        search = NONE_YET._replace(
            in_use=scout.open, opened=scout.opened, errors=scout.errors, breaker=state, max_connections=most
        )
        return summed([self.nodes.statistics(), search])

    def close(self, *, wait_s: float) -> None:
        """Closes all connections, and waits up to `wait_s` for each thread."""
        self._scout.leave()
        self.nodes.close(wait_s=wait_s)
