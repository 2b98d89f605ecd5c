"""Makes the families of Prometheus text as `exported.py` declares them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from engine.observe.exported import BY_NAME
from engine.observe.histograms import HistogramShape


def counter(name: str) -> CounterMetricFamily:
    """The counter of this name, without samples."""
    return CounterMetricFamily(name, BY_NAME[name].text, labels=BY_NAME[name].labels)


def gauge(name: str) -> GaugeMetricFamily:
    """The same of a gauge."""
    return GaugeMetricFamily(name, BY_NAME[name].text, labels=BY_NAME[name].labels)


def histogram(name: str) -> HistogramMetricFamily:
    """The same of a histogram."""
    return HistogramMetricFamily(name, BY_NAME[name].text, labels=BY_NAME[name].labels)


def add_histogram(
    family: HistogramMetricFamily, labels: Sequence[str], shape: HistogramShape, found: Mapping[str, int]
) -> None:
    """The samples of one histogram, from its counters."""
    bounds = [*map(_shown, shape.shown_bounds), "+Inf"]
    buckets = [(bound, float(count)) for bound, count in zip(bounds, shape.cumulative(found), strict=True)]
    family.add_metric(labels, buckets, found.get(shape.total, 0) / shape.per_unit)


def _shown(bound: float) -> str:
    return str(float(bound))
