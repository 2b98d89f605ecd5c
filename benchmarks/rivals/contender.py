"""What is known of a server before it is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.rivals.plans import OURS, SERVERS
from benchmarks.workloads import Workload


@dataclass(frozen=True)
class Site:
    """Where one start of a server takes place."""

    bin: Path  # programs of its environment
    packages: Path  # and its packages
    ports: tuple[int, ...]  # free ones of the loopback address; the first is for requests
    scratch: Path  # an empty folder
    workload: Workload

    @property
    def python(self) -> str:
        """The interpreter of the environment."""
        return str(self.bin / "python")


@dataclass(frozen=True)
class Launch:
    """How to start it there.

    `before`: commands that prepare files, whose time does not count; `shared`: how the names of shared memory begin
    that it leaves behind when it is killed, empty where it has none.
    """

    command: list[str]
    variables: Mapping[str, str] = field(default_factory=dict)
    before: tuple[list[str], ...] = ()
    shared: str = ""


@dataclass(frozen=True)
class Contender:
    """One server of the comparison."""

    name: str
    launch: Callable[[Site], Launch]
    configured: str  # for a reader: what it was given
    path: str
    envelope: str = "raw"
    ours: bool = False
    tolerance: float = 1e-3  # of a probability, against the plain model

    @property
    def plan(self) -> str:
        """The name of its environment."""
        return OURS if self.ours else SERVERS[self.name]
