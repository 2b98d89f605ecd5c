"""Which troubles of a store are told, and that what is not configured is no trouble."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.clock import wall_clock_s
from engine.config import Settings
from engine.core.breaker import BreakerState
from engine.observe.store_health import connected, store_reasons
from tests.observe.figures import EVERYTHING, NOTHING, POSTGRES, totals

OLD_MS = int((wall_clock_s() - 3600) * 1000)
TROUBLES = {
    "Postgres does not answer": {"database__breaker": 2},
    "Redis does not answer": {"redis__breaker": 1},
    "the original API does not answer": {"http__breaker": 2},
    "no memory for the L1 cache": {"l1__without_memory": 1},
    "the journal cannot be written": {"journal__failing": 1},
    "a damaged journal.db was set aside": {"journal__damaged": 1},
    "the journal is behind: 5 records are": {
        "journal__moving": 1,
        "journal__backlog": 5,
        "journal__oldest_at_ms": OLD_MS,
    },
}


@pytest.mark.parametrize("text", TROUBLES)
def test_each_trouble_is_told_where_it_matters(text: str) -> None:
    (reason,) = store_reasons(totals(**TROUBLES[text]), EVERYTHING)
    assert text in reason
    assert store_reasons(totals(**TROUBLES[text]), NOTHING) == []


def test_all_is_well_without_troubles_and_before_anybody_has_counted() -> None:
    assert store_reasons(totals(), EVERYTHING) == [] == store_reasons(None, EVERYTHING)


def test_a_backlog_that_is_being_worked_on_is_no_trouble() -> None:
    fresh = totals(journal__moving=1, journal__backlog=100_000, journal__oldest_at_ms=int(wall_clock_s() * 1000))
    assert store_reasons(fresh, Settings(database_url=POSTGRES)) == []


def test_a_server_is_connected_when_somebody_has_a_connection_to_it_that_works() -> None:
    assert not connected(None, "redis") and not connected(totals(), "redis")
    assert connected(totals(redis__idle=1), "redis") and connected(totals(redis__in_use=1), "redis")
    assert not connected(totals(redis__idle=1, redis__breaker=BreakerState.OPEN), "redis")


def test_the_manual_says_what_helps_against_each_reason() -> None:
    manual = (Path(__file__).resolve().parents[2] / "frontend" / "README.md").read_text()
    section = manual.split("### What health says", 1)[1].split("\n#", 1)[0]
    rows = {row.split("|")[1].strip().replace("`", "") for row in section.splitlines() if row.startswith("| ")}
    told = {text for counted in TROUBLES.values() for text in store_reasons(totals(**counted), EVERYTHING)}
    assert len(told) == len(TROUBLES)
    for text in told:
        assert any(text.startswith(row) for row in rows), text
