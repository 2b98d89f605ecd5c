"""The Prometheus text is what Prometheus reads, and has a series for what is configured and for nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from engine.config import Settings
from engine.core.breaker import BreakerState
from engine.errors import ConfigError
from engine.observe.exported import EXPORTED, replace_metrics
from engine.observe.exposition import exposition
from engine.observe.store_stats import Totals
from tests.observe.figures import EVERYTHING, NOTHING, totals

Series = tuple[str, tuple[tuple[str, str], ...]]
COUNTED = totals(
    database__in_use=1, database__idle=2, database__opened=3, database__lost=4, database__wait_ns=5 * 10**8,
    redis__breaker=BreakerState.HALF_OPEN, l1__hits=6, l1__misses=7, l2__bypassed=8, l1__bytes=9,
    single_flight__leader=10, journal__recorded=11, journal__sent=12, journal__moving=1, journal__backlog=13,
    fallback__answered=14, traces__lost=15,
)  # fmt: skip


def series(settings: Settings, found: Totals | None) -> dict[Series, float]:
    """Every sample by name and labels, read as Prometheus reads it."""
    text = exposition(None, settings, found).decode()
    samples: dict[Series, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert (sample.name, tuple(sorted(sample.labels.items()))) not in samples
            samples[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return samples


def value(samples: dict[Series, float], name: str, **labels: str) -> float:
    return samples[f"nightscan_engine_{name}", tuple(sorted(labels.items()))]


def test_every_figure_has_its_series() -> None:
    found = series(EVERYTHING, COUNTED)
    assert value(found, "pool_connections", pool="database", state="in_use") == 1
    assert value(found, "pool_connections", pool="database", state="idle") == 2
    assert value(found, "pool_opened_total", pool="database") == 3
    assert value(found, "pool_lost_total", pool="database") == 4
    assert value(found, "pool_wait_seconds_total", pool="database") == 0.5
    assert [value(found, "breaker_open", pool=pool) for pool in ("database", "redis", "http")] == [0, 1, 0]
    assert value(found, "cache_lookups_total", level="l1", result="hit") == 6
    assert value(found, "cache_lookups_total", level="l1", result="miss") == 7
    assert value(found, "cache_lookups_total", level="l2", result="bypassed") == 8
    assert value(found, "cache_bytes") == 9
    assert value(found, "single_flight_total", role="leader") == 10
    assert value(found, "journal_records_total", stage="recorded") == 11
    assert value(found, "journal_records_total", stage="sent") == 12
    assert (value(found, "journal_backlog"), value(found, "journal_oldest_seconds")) == (13, 0)
    assert value(found, "fallbacks_total", outcome="answered") == 14
    assert value(found, "traces_total", outcome="lost") == 15


def test_what_is_not_configured_has_no_series() -> None:
    names = {name for name, _ in series(NOTHING, COUNTED)}
    parts = ("_pool_", "_cache_lookups", "_journal_", "_traces_")
    assert not {name for name in names if any(part in name for part in parts)}
    assert "nightscan_engine_breaker_open" not in names


def test_without_a_database_nothing_is_sent() -> None:
    found = series(Settings(), COUNTED)
    assert value(found, "journal_records_total", stage="stored") == 0
    assert ("nightscan_engine_journal_records_total", (("stage", "sent"),)) not in found


def test_every_family_is_named_even_before_anything_was_counted() -> None:
    text = exposition(None, EVERYTHING, None).decode()
    for metric in EXPORTED:
        name = metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name
        assert f"# TYPE {metric.name} {metric.kind}" in text or f"# TYPE {name} {metric.kind}" in text, metric.name


def test_the_manual_has_the_table_of_the_code() -> None:
    manual = (Path(__file__).resolve().parents[2] / "frontend" / "README.md").read_text()
    assert replace_metrics(manual) == manual, "run: python -m engine.observe --into frontend/README.md"
    with pytest.raises(ConfigError, match="no markers"):
        replace_metrics("# A manual")
