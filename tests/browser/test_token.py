"""The token of the page: what it opens, and where it is not left."""

from __future__ import annotations

from tests.browser.browser_page import Opener
from tests.browser.watched_engine import WatchedEngine


def test_without_the_token_there_are_no_single_requests(engine: WatchedEngine, open_page: Opener) -> None:
    page = open_page()
    page.wait_verdict("Serving")
    page.wait("() => document.getElementById('requests-note').textContent.includes('nightscan dashboard')")
    assert page.rows("Last requests") == []


def test_a_wrong_token_is_told(open_page: Opener) -> None:
    page = open_page("#token=wrong")
    page.wait_verdict("Serving")
    page.wait("() => document.getElementById('requests-note').textContent.includes('not valid')")
    page.troubles.clear()  # of a refused request the browser itself tells the console


def test_the_token_is_kept_in_memory_alone(engine: WatchedEngine, open_page: Opener) -> None:
    page = open_page(f"#token={engine.token}")
    page.wait("() => document.querySelector('#requests caption')")
    storages = "{...localStorage}, {...sessionStorage}, document.cookie, history.state"
    assert engine.token not in page.tab.evaluate(f"() => JSON.stringify([location.href, {storages}])")
    assert engine.token not in page.tab.content()
