"""Every histogram, declared once: the counters that it is made of, and where its buckets end.

A bucket counts what fell into it alone; Prometheus text adds them up. A bound belongs to the bucket below it. Few
bounds: each is a word in the row of every writer, and a series of every scrape.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

from engine.clock import NS_PER_S


class HistogramShape:
    """One histogram. Its figures are whole numbers of some small unit: nanoseconds, milliseconds, bytes, items."""

    def __init__(self, key: str, bounds: tuple[float, ...], *, per_unit: int = 1, total: str = "") -> None:
        """`bounds`: as they are shown, rising; `per_unit`: how many of the small units one of those is.

        `total`: the counter that is the sum of all figures, if that is counted under another name already.
        """
        self.shown_bounds = bounds
        self.per_unit = per_unit
        self.bounds = tuple(round(bound * per_unit) for bound in bounds)
        self.buckets = tuple(f"{key}.{k}" for k in range(len(bounds) + 1))
        self.total = total or f"{key}.total"
        self.counters = self.buckets if total else (*self.buckets, self.total)

    def bucket(self, figure: int) -> int:
        """The number of the bucket that `figure` falls into."""
        return bisect_left(self.bounds, figure)

    def cumulative(self, found: Mapping[str, int]) -> list[int]:
        """How many figures are no larger than each bound, and at last how many there are."""
        counts, below = [], 0
        for name in self.buckets:
            below += found.get(name, 0)
            counts.append(below)
        return counts


# Near-geometric, so that a quantile is off by a fifth or so; the bounds that dashboards of the original system read
# (.1 .5 1 2 5 10 30 60) are among them. Percentiles in the statistics are computed from these, hence so many.
LATENCY_BOUNDS_S = (
    0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.007, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1,
    0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 60.0,
)  # fmt: skip
# From an answer out of the cache to a night on one processor; the objective of half a second is among them.
_HTTP_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_SHORT_BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_MB = 1024 * 1024

LATENCY = HistogramShape("latency", LATENCY_BOUNDS_S, per_unit=NS_PER_S, total="latency_ns")
UPLOAD_SIZE = HistogramShape("upload_bytes", (65536, 262144, *(n * _MB for n in (1, 2, 5, 10, 25, 50, 100))))
AUDIO_LENGTH = HistogramShape("audio_ms", (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0), per_unit=1000)
COMPUTING = HistogramShape("compute", _SHORT_BOUNDS_S, per_unit=NS_PER_S, total="busy_ns")
QUEUEING = HistogramShape("queue", _SHORT_BOUNDS_S, per_unit=NS_PER_S)
BATCH_SIZE = HistogramShape("batch_size", (1, 2, 4, 8, 16, 32, 64), total="requests")


def http_duration(method: str, endpoint: str) -> HistogramShape:
    """Of the answers of one route, of HTTP_ROUTES."""
    return HistogramShape(f"http_duration.{method}.{endpoint}", _HTTP_BOUNDS_S, per_unit=NS_PER_S)
