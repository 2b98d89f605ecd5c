"""What the page shows of an engine that works: figures that move, and what is not configured."""

from __future__ import annotations

from tests.browser.browser_page import BrowserPage, Opener
from tests.browser.watched_engine import WatchedEngine

# The requests of a second, as the page writes it, is a number that is not zero.
MOVES = "() => parseFloat(document.getElementById('throughput').textContent.replace(',', '')) > 0"
RESTS = "() => document.getElementById('throughput').textContent === '0'"
CHANGED = "before => !['–', before].includes(document.getElementById('throughput').textContent)"


def test_figures_move_under_load_and_rest_after_it(engine: WatchedEngine, open_page: Opener) -> None:
    page = open_page()
    page.wait_verdict("Serving")
    with engine.loaded() as answers:
        page.wait(MOVES)
        page.wait(CHANGED, page.text("#throughput"))
        page.wait("() => document.getElementById('p50').textContent.endsWith('ms')")
        page.wait("() => document.querySelector('.spark-line').getAttribute('d').split('L').length > 2")
    assert answers.failures == []
    page.wait(RESTS)
    assert page.text("#success") == "100 %"
    in_words = str(page.tab.locator("#throughput-chart title").inner_html())
    assert in_words.startswith("Requests per second over the last two minutes: now 0")
    assert ["200", "optimized"] in [row[:2] for row in page.rows("Answers by status")]


def test_a_start_names_the_page(engine: WatchedEngine) -> None:
    assert f"see it at work:    {engine.page_url}\n" in engine.server.log


def test_every_part_of_the_engine_is_shown(engine: WatchedEngine, open_page: Opener) -> None:
    assert engine.predict() == 200
    page = open_page()
    page.wait_verdict("Serving")
    instances = page.rows("Instances")
    assert [(row[0], row[1], row[2]) for row in instances] == [("0", "ready", "cpu"), ("1", "ready", "cpu")]
    processes = {(row[0], row[1]) for row in page.rows("Processes")}
    assert ("supervisor", str(engine.supervisor)) in processes
    assert {int(pid) for name, pid in processes if name.startswith("instance")} == set(engine.instances)
    assert [row[0] for row in page.rows("Journal: SQLite")] == [
        "recorded", "stored in SQLite", "sent to Postgres", "backlog", "rejected", "lost",
    ]  # fmt: skip


def test_what_is_not_configured_says_so_and_has_no_figures(engine: WatchedEngine, open_page: Opener) -> None:
    page = open_page()
    page.wait_verdict("Serving")
    for row in [*page.rows("Connections"), *page.rows("Cache")]:
        assert row[1] == "not configured" and not any(row[2:]), row
    assert dict(row[:2] for row in page.rows("Journal"))["sent to Postgres"] == "not configured"
    assert "not configured" in page.text("#hit-unit") and "0" not in page.text("#hit-share")


def test_eight_tabs_all_move(engine: WatchedEngine, open_page: Opener) -> None:
    first = open_page()
    tabs = [first, *(first.beside() for _ in range(7))]
    with engine.loaded():
        for tab in tabs:
            tab.wait(MOVES)
        before = [tab.text("#throughput") for tab in tabs]
        for tab, text in zip(tabs, before, strict=True):
            tab.wait(CHANGED, text)
    assert [trouble for tab in tabs for trouble in tab.troubles] == []


def test_a_tab_that_nobody_looks_at_does_not_ask(engine: WatchedEngine, open_page: Opener) -> None:
    page = open_page()
    page.wait_verdict("Serving")
    asked: list[str] = []
    page.tab.on("request", lambda request: asked.append(request.url))
    _look_away(page, True)
    page.tab.wait_for_timeout(2500)
    assert len(asked) <= 1, asked  # one may have been on its way
    _look_away(page, False)
    page.wait("() => true")
    page.tab.wait_for_timeout(300)
    assert asked, "it asks at once when somebody looks again"


def test_paused_it_stands_still_until_resumed(engine: WatchedEngine, open_page: Opener) -> None:
    page = open_page()
    page.wait_verdict("Serving")
    page.tab.get_by_role("button", name="Pause").click()
    assert page.text("#heard").startswith("Paused")
    shown = page.text("#heard")
    page.tab.wait_for_timeout(1500)
    assert page.text("#heard") == shown
    page.tab.get_by_role("button", name="Resume").click()
    page.wait("shown => document.getElementById('heard').textContent.startsWith('Figures of')", shown)


def _look_away(page: BrowserPage, away: bool) -> None:
    """As a browser tells a page that its tab went to the back: the only thing here that is not done by hand."""
    page.tab.evaluate(
        """away => {
            Object.defineProperty(document, "hidden", { configurable: true, get: () => away });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        away,
    )
