"""What a deployment has counted, and who can say so: what statistics and Prometheus text are made from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from engine.observe.histograms import LATENCY, LATENCY_BOUNDS_S


@dataclass(frozen=True, slots=True)
class Counters:
    """Totals never fall while this process lives, whatever is swapped, restarted or taken out of service."""

    lane_totals: dict[str, int] = field(default_factory=dict)
    instances: list[dict[str, int]] = field(default_factory=list)  # those that serve
    instance_totals: dict[str, int] = field(default_factory=dict)  # with those that are gone
    device: str = ""
    model_version: str = ""
    slots: dict[str, int] = field(default_factory=dict)  # of the version that serves, by state; empty if there is none
    waiting: int = 0  # requests that wait for an instance of it, over all frontends
    tuning: dict[str, Any] = field(default_factory=dict)  # what has become of it, as `status` has it; empty: not told


class Observed(Protocol):
    """Whoever knows of deployments: `EngineClient`."""

    def deployments(self) -> list[str]: ...

    def known_deployments(self) -> list[str]: ...

    def ready(self, deployment_id: str) -> bool: ...

    def counters(self, deployment_id: str) -> Counters: ...


def latency_quantile_s(totals: dict[str, int], quantile: float) -> float:
    """The latency, in seconds, that the share `quantile` of the counted requests did not exceed; 0.0 if there are none.

    Linear within a bucket of the histogram in `totals` (of `lane_totals`); what lies above the last bound counts as it.
    """
    counts = [totals[name] for name in LATENCY.buckets]
    rank, below = quantile * sum(counts), 0.0
    for count, lower_s, upper_s in zip(counts, (0.0, *LATENCY_BOUNDS_S), LATENCY_BOUNDS_S, strict=False):
        if count and below + count >= rank:
            return lower_s + (upper_s - lower_s) * (rank - below) / count
        below += count
    return LATENCY_BOUNDS_S[-1] if any(counts) else 0.0
