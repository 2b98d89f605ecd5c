"""How many instances each version runs when several share the cores.

On `cpu`, instances times threads never exceed the cores, over all deployments and in the middle of a swap. But nobody
goes without: where there are more versions than room, each still runs one. What serves comes first; a version that
starts beside one that serves gets one instance, and what is left, and grows as the old one leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Party(NamedTuple):
    """One version that has or wants instances."""

    wished: int  # at least 1
    devices: tuple[str, ...]  # given to its instances in turn
    waits: bool = False  # it starts beside a version that serves in its place

    def cost(self, index: int) -> int:
        """Room that its instance number `index` takes: those on other devices take none."""
        return int(self.devices[index % len(self.devices)] == "cpu")


def room_of(*, cores: int, threads: int) -> int:
    """Instances that the cores have room for."""
    return max(1, cores // max(1, threads))


def sizes_of(parties: Sequence[Party], *, room: int, occupied: int) -> list[int]:
    """Instances that each party runs. `occupied`: room taken by instances that are on their way out."""
    sizes = [1] * len(parties)
    left = room - occupied - sum(party.cost(0) for party in parties)
    for waits in (False, True):
        growing = [k for k, party in enumerate(parties) if party.waits is waits]
        while growing:  # one each in turn, so that all grow alike
            still = []
            for k in growing:
                cost = parties[k].cost(sizes[k])
                if sizes[k] < parties[k].wished and cost <= max(0, left):
                    sizes[k], left = sizes[k] + 1, left - cost
                    still.append(k)
            growing = still
    return sizes
