"""The token of the page: what it opens, and where it is not left."""

from __future__ import annotations

import requests

from tests.browser.browser_page import Opener
from tests.browser.watched_engine import PREDICT, WORKLOAD, WatchedEngine

FILE = "night-of-the-frogs.wav"


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


def test_a_tab_that_is_open_takes_a_new_token(engine: WatchedEngine, open_page: Opener) -> None:
    page = open_page()
    page.wait_verdict("Serving")
    page.tab.evaluate(f"() => {{ location.hash = 'token={engine.token}' }}")
    page.wait("() => document.querySelector('#requests caption')")
    assert engine.token not in page.tab.evaluate("() => location.href")
    with page.tab.expect_request(lambda asked: asked.url.endswith("/status") and "authorization" in asked.headers):
        pass  # what it shows of the state is all of it from here on


def test_with_the_token_requests_show_where_their_time_went(engine: WatchedEngine, open_page: Opener) -> None:
    sent = requests.post(
        f"http://127.0.0.1:{engine.server.port}{PREDICT}", files={"file": (FILE, WORKLOAD.bodies[0], "audio/wav")},
        headers={"X-Request-ID": "seen-1"}, timeout=20,
    )  # fmt: skip
    assert sent.status_code == 200
    assert engine.predict(query="?top_k=0", request_id="refused-1") == 422
    page = open_page(f"#token={engine.token}")
    page.wait("() => document.getElementById('requests').textContent.includes('seen-1')")
    (row,) = (row for row in page.rows("Last requests") if "seen-1" in row[-1])
    assert row[1].startswith("200") and FILE in row[-1]
    assert "compute" in row[3] and "queue" in row[3], row
    page.wait("() => document.getElementById('requests').textContent.includes('refused-1')")
    assert any("INVALID_FIELD" in row[1] for row in page.rows("Last errors"))
