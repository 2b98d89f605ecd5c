"""Which server of a Redis cluster has which key."""

from __future__ import annotations

import binascii
from bisect import bisect_right

from engine.stores.redis_address import RedisNode
from engine.stores.redis_words import Answer, RedisRefusal

SLOTS = 16384
ASK_SLOTS = (b"CLUSTER", b"SLOTS")


class SlotMap:
    """The primaries of a cluster by the slots they serve; immutable."""

    def __init__(self, ranges: list[tuple[int, int, RedisNode]]) -> None:
        """`ranges`: first slot, last slot, primary; none overlap."""
        self._ranges = sorted(ranges)
        self._firsts = [first for first, _, _ in self._ranges]
        self.nodes = frozenset(node for _, _, node in ranges)

    def node_of(self, key: bytes) -> RedisNode | None:
        """The primary that serves `key`, which has no braces in it; None where nobody is known to."""
        slot = binascii.crc_hqx(key, 0) % SLOTS
        at = bisect_right(self._firsts, slot) - 1
        if at < 0:
            return None
        _, last, node = self._ranges[at]
        return node if slot <= last else None


def slot_map(answer: Answer, asked: RedisNode) -> SlotMap | None:
    """What CLUSTER SLOTS said to us at `asked`; None where that is no cluster, or not one that serves anything.

    A node that does not know its own address is where we asked it.
    """
    if isinstance(answer, RedisRefusal) or not isinstance(answer, list):
        return None
    ranges = []
    for entry in answer:
        match entry:
            case [int(first), int(last), [host, int(port), *_], *_]:
                name = host.decode(errors="replace") if isinstance(host, bytes) else ""
                ranges.append((first, last, RedisNode(name or asked.host, port)))
    return SlotMap(ranges) if ranges else None
