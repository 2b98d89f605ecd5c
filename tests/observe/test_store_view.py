"""`nightscan status` shows a line for each store, with figures where there are some."""

from __future__ import annotations

from engine.config import Settings
from engine.core.breaker import BreakerState
from engine.observe.store_health import stores_seen
from engine.observe.store_stats import Totals
from frontend.cli.view import status_view
from tests.observe.figures import EVERYTHING, NOTHING, totals


def shown(found: Totals | None, settings: Settings) -> dict[str, str]:
    """First column -> the rest of the line."""
    text = status_view({"stores": stores_seen(found, settings)})
    table = text.split("store ", 1)[1].splitlines()[1:]
    return {line[:17].strip(): line[17:].strip() for line in table}


def test_each_store_has_its_figures() -> None:
    found = totals(redis__in_use=1, redis__idle=2, redis__opened=3, l1__hits=3, l1__misses=1, l1__entries=3,
                   l1__bytes=1024 * 1024, l1__hit_age_ms=9000, journal__recorded=8, journal__sent=6,
                   journal__moving=1, journal__backlog=2)  # fmt: skip
    lines = shown(found, EVERYTHING)
    assert set(lines) == {
        "Postgres pool", "Redis pool", "original API pool", "cache L1", "cache L2", "cached together", "journal",
    }  # fmt: skip
    assert lines["Redis pool"].startswith("ok") and "1 in use, 2 idle, most 15" in lines["Redis pool"]
    assert "3 hits, 1 misses (75%)" in lines["cache L1"] and "3 entries, 1.0 of 16 MB" in lines["cache L1"]
    assert "hits 3 s old" in lines["cache L1"] and "MB" not in lines["cache L2"]
    assert lines["journal"].startswith("postgres") and "8 recorded, 0 stored, 6 sent" in lines["journal"]
    assert "2 to go, the oldest for 0.0 s" in lines["journal"]


def test_what_is_not_configured_says_that_and_nothing_else() -> None:
    lines = shown(totals(), NOTHING)
    assert {lines[name] for name in lines if "pool" in name or "cache L" in name} == {"not configured"}
    assert lines["journal"] == "off" and lines["cached together"] == ""


def test_what_is_not_known_yet_is_shown_as_that() -> None:
    assert shown(None, EVERYTHING)["Redis pool"] == shown(None, EVERYTHING)["cache L1"] == "unknown"


def test_troubles_stand_above() -> None:
    head = status_view({"stores": stores_seen(totals(database__breaker=BreakerState.OPEN), EVERYTHING)}).splitlines()
    assert "degraded: Postgres does not answer: the journal is kept here until it does" in head


def test_a_supervisor_that_says_nothing_of_stores_is_shown_as_before() -> None:
    assert "store" not in status_view({})
