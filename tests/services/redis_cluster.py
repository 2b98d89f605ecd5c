"""A real Redis cluster: three primaries, each with a replica that is in step with it, and a quick fail-over."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from tests.services.held_port import HeldPort
from tests.services.redis_server import RedisServer
from tests.support.wait import wait_for

PRIMARIES = 3
SLOTS = 16384
NODE_TIMEOUT_MS = 1000
TOGETHER_S = 30.0


class ClusterNode(RedisServer):
    """One server of a cluster, on a free port, its bus on another."""

    def __init__(self, arguments: Sequence[str] = (), *, kept: bool = False) -> None:
        self._bus = HeldPort()
        cluster = ["--cluster-enabled", "yes", "--cluster-port", str(self._bus.number)]
        cluster += ["--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--cluster-replica-validity-factor", "0"]
        cluster += ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]
        super().__init__([*cluster, *arguments], kept=kept)

    @property
    def node_id(self) -> str:
        """Its name in the cluster, which it keeps when restarted."""
        return str(self.command("CLUSTER", "MYID").decode())

    @property
    def known(self) -> list[list[str]]:
        """CLUSTER NODES as it sees it, word by word."""
        return [line.split() for line in self.command("CLUSTER", "NODES").decode().splitlines()]

    def serves(self, slot: int) -> bool:
        """Whether it holds that slot itself."""
        own = next(words for words in self.known if "myself" in words[2])
        return any(_holds(word, slot) for word in own[8:])

    @property
    def bus_port(self) -> int:
        """Where the other nodes reach it."""
        return self._bus.number

    def close(self) -> None:
        super().close()
        self._bus.close()


class RedisCluster:
    """`with RedisCluster() as cluster:` serves all slots inside, with replicas in step; is gone after.

    `nodes[0:3]` begin as primaries of a third of the slots each, `nodes[3:6]` as their replicas.
    """

    def __init__(self, *, kept: bool = False) -> None:
        self.nodes = [ClusterNode(kept=kept) for _ in range(2 * PRIMARIES)]

    @property
    def url(self) -> str:
        """Of all nodes."""
        return "redis://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    def __enter__(self) -> RedisCluster:
        with contextlib.ExitStack() as begun:
            begun.callback(self.close)
            for node in self.nodes:
                node.process.start()
            for node in self.nodes:
                wait_for(node.answers, f"redis-server on {node.port}")
            self._introduce()
            begun.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all nodes."""
        for node in self.nodes:
            if node.process.running:
                node.kill()  # nothing is kept, so nothing need be asked; a primary would wait for its replica
            node.close()

    # --- becoming one -----------------------------------------------------------------------------------------------

    def _introduce(self) -> None:
        for at, node in enumerate(self.nodes):
            node.command("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
            for other in self.nodes[:at]:
                node.command("CLUSTER", "MEET", "127.0.0.1", other.port, other.bus_port)
        for at, node in enumerate(self.nodes[:PRIMARIES]):
            node.command("CLUSTER", "ADDSLOTSRANGE", *_slots_of(at))
        wait_for(self._all_acquainted, "every node knows every other", timeout_s=TOGETHER_S)
        for primary, replica in zip(self.nodes[:PRIMARIES], self.nodes[PRIMARIES:], strict=True):
            replica.command("CLUSTER", "REPLICATE", primary.node_id)
        self.wait_whole()

    def _all_acquainted(self) -> bool:
        seen = [node.known for node in self.nodes]
        return all(
            len(known) == len(self.nodes) and all("handshake" not in words[2] for words in known) for known in seen
        )

    # --- its state --------------------------------------------------------------------------------------------------

    def running(self) -> Iterator[ClusterNode]:
        """The nodes that run."""
        return (node for node in self.nodes if node.process.running)

    def primaries(self) -> list[ClusterNode]:
        """The running nodes that say they are primaries and hold slots."""
        return [node for node in self.running() if node.facts("replication")["role"] == "master"]

    def ok(self) -> bool:
        """Whether every running node says `cluster_state:ok`."""
        said = [node.command("CLUSTER", "INFO") for node in self.running()]
        return all(b"cluster_state:ok" in answer for answer in said)

    def wait_ok(self, timeout_s: float = TOGETHER_S) -> None:
        """Until every running node says so."""
        wait_for(self.ok, "cluster_state:ok", timeout_s=timeout_s)

    def whole(self) -> bool:
        """Whether it is ok, with three primaries and a replica in step with each."""
        if not self.ok():
            return False
        found = [node.facts("replication") for node in self.nodes]
        primaries = [facts for facts in found if facts["role"] == "master"]
        return len(primaries) == PRIMARIES and all(
            "state=online" in facts.get("slave0", "") for facts in primaries
        )

    def wait_whole(self) -> None:
        """Until it is; after a fail-over, restart the node that was killed first."""
        wait_for(self.whole, "three primaries, a replica in step with each", timeout_s=TOGETHER_S)

    def primary_of(self, key: bytes) -> ClusterNode:
        """The running node that serves the slot of `key`."""
        slot = self.primaries()[0].command("CLUSTER", "KEYSLOT", key)
        return next(node for node in self.primaries() if node.serves(slot))

    def fail_over(self, killed: ClusterNode) -> None:
        """Kills a primary, and waits until its replica has taken its place."""
        killed.kill()
        wait_for(
            lambda: len(self.primaries()) == PRIMARIES and self.ok(), "the fail-over", timeout_s=TOGETHER_S
        )


def _holds(word: str, slot: int) -> bool:
    first, _, last = word.partition("-")
    return first.isdigit() and int(first) <= slot <= int(last or first)


def _slots_of(at: int) -> tuple[int, int]:
    return at * SLOTS // PRIMARIES, (at + 1) * SLOTS // PRIMARIES - 1
