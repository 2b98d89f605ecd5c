"""What deployments have counted, as the status server reads it: from shared memory, through mappings of its own.

Nothing can be stored through them. What lies in no segment any more comes with each snapshot, so that a figure is read
as it is at the moment of asking, whatever the loop does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from engine.core.carrying import Part, total
from engine.observe.counters import Counters
from engine.shm.board import named, part_of, queue_length
from engine.shm.records import LaneStatistics
from engine.shm.segment import Segment
from engine.spec import ModelDescription


class CountedVersion(NamedTuple):
    """One version that is open. The segment is closed by the thread that reads it, and by nobody else."""

    number: int
    segment: Segment
    description: ModelDescription
    included: tuple[int, ...] | None  # what of it is among the gone already

    def part(self) -> tuple[Part, list[dict[str, int]]]:
        """What it carries and has counted, and the rows of its instances."""
        part, rows = part_of(self.segment)
        if self.included is None:
            return part, rows
        return Part(part.carried, [a - b for a, b in zip(part.own, self.included, strict=True)]), rows


@dataclass(frozen=True, slots=True)
class CountedDeployment:
    """One deployment id, in service or not."""

    gone: tuple[int, ...]  # counted in versions that are closed
    versions: tuple[CountedVersion, ...] = ()  # the oldest first
    serving: int = 0  # number; 0: none
    is_gone: bool = True  # it has counted, and is deployed no more
    tuning: dict[str, Any] = field(default_factory=dict)

    def counters(self) -> Counters:
        """Everything that was counted until now. Read from the newest on, as `engine.core.carrying` asks for."""
        found = [(version, *version.part()) for version in reversed(self.versions)][::-1]
        lanes, instances = named(total([part for _, part, _ in found], self.gone))
        serving = next(((version, rows) for version, _, rows in found if version.number == self.serving), None)
        if serving is None:
            return Counters(lane_totals=lanes, instance_totals=instances, tuning=self.tuning)
        version, rows = serving
        return Counters(
            lane_totals=lanes,
            instances=[row for row in rows if row["go"]],
            instance_totals=instances,
            device=version.description.device,
            model_version=version.description.model_version,
            slots=asdict(LaneStatistics.of(version.segment.tables.word.tolist())),
            waiting=queue_length(version.segment),
            tuning=self.tuning,
        )


@dataclass(frozen=True, slots=True)
class CountedMachine:
    """All of them, by id: what `engine.observe` makes statistics of."""

    by_id: Mapping[str, CountedDeployment]

    def deployments(self) -> list[str]:
        """Those that are not gone, whether or not they serve."""
        return [name for name, each in self.by_id.items() if not each.is_gone]

    def known_deployments(self) -> list[str]:
        """Those, and all that have ever counted."""
        return list(self.by_id)

    def ready(self, deployment_id: str) -> bool:
        """Whether one of its versions serves."""
        return bool(self.by_id[deployment_id].serving)

    def counters(self, deployment_id: str) -> Counters:
        """Of one of `known_deployments`."""
        return self.by_id[deployment_id].counters()
