"""What was found: one row for each run of each server, and who could not take part."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Row:
    """One server in one round of one workload at one concurrency."""

    server: str
    workload: str
    concurrency: int
    round: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms_per_request: float
    pss_mb: float
    errors: int
    first_200_s: float
    difference: float  # of a probability, the largest

    @property
    def group(self) -> tuple[str, int]:
        """Rows of one group are compared with each other."""
        return self.workload, self.concurrency


@dataclass
class Results:
    """Everything that the table and the picture are made of."""

    about: dict[str, str]  # date, processor, command, versions
    configured: dict[str, str]  # by server, in the order of the table
    ours: list[str]  # which of them are this project's
    rows: list[Row] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # reason, by server@workload
    notes: list[str] = field(default_factory=list)

    def groups(self) -> list[tuple[str, int]]:
        """Workloads and concurrencies, as they were run."""
        return list(dict.fromkeys(row.group for row in self.rows))

    def of(self, server: str, group: tuple[str, int]) -> list[Row]:
        """Its rows in the group, by round."""
        return [row for row in self.rows if row.server == server and row.group == group]

    def servers(self, group: tuple[str, int]) -> list[str]:
        """Those with rows in the group, the fastest first."""
        there = [server for server in self.configured if self.of(server, group)]
        return sorted(there, key=lambda server: -middle(self.of(server, group), "requests_per_s"))

    def best_rival(self, group: tuple[str, int]) -> str | None:
        """The fastest that is not ours."""
        return next((server for server in self.servers(group) if server not in self.ours), None)

    def ratio(self, server: str, other: str, group: tuple[str, int]) -> float:
        """How many times `other`'s requests `server` answers: the median over the rounds that both have; NaN: none."""
        others = {row.round: row.requests_per_s for row in self.of(other, group)}
        pairs = [(row.requests_per_s, others[row.round]) for row in self.of(server, group) if row.round in others]
        return median(mine / theirs for mine, theirs in pairs) if pairs and all(b for _, b in pairs) else float("nan")

    def write(self, file: Path) -> None:
        """As JSON."""
        file.write_text(json.dumps(dataclasses.asdict(self), indent=1) + "\n")


def middle(rows: Iterable[Row], figure: str) -> float:
    """The median of a figure over rows, of which there is one at least."""
    return float(median(getattr(row, figure) for row in rows))


def read_results(file: Path) -> Results:
    """What `write` wrote. Raises OSError, ValueError, TypeError where it is something else."""
    written = json.loads(file.read_text())
    return Results(**{**written, "rows": [Row(**row) for row in written["rows"]]})
