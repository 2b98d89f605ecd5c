"""The page while processes of the engine are killed: it says so within two seconds, and heals by itself."""

from __future__ import annotations

import os
import signal

from tests.browser.browser_page import Opener
from tests.browser.watched_engine import WatchedEngine

SHOWN_WITHIN_S = 2.0
PROCESS_IS_GONE = """pid => ![...document.querySelectorAll("#process-table td")]
    .some((cell) => cell.textContent === pid)"""


def test_a_killed_instance_shows_and_heals(engine: WatchedEngine, open_page: Opener) -> None:
    page = open_page()
    page.wait_verdict("Serving")
    killed = engine.instances[0]
    os.kill(killed, signal.SIGKILL)
    page.wait(PROCESS_IS_GONE, str(killed), timeout_s=SHOWN_WITHIN_S)
    assert page.wait_verdict("Degraded", timeout_s=SHOWN_WITHIN_S)
    assert "of 2 instances ready" in page.text("#trouble-list")
    page.wait_verdict("Serving")
    assert [row[1] for row in page.rows("Instances")] == ["ready", "ready"]
    assert not page.tab.locator("#troubles").is_visible()


def test_a_killed_supervisor_shows_and_heals(engine: WatchedEngine, open_page: Opener) -> None:
    page = open_page()
    page.wait_verdict("Serving")
    before = str(engine.supervisor)
    with engine.without_supervisor():
        told = page.wait_verdict("Not reachable since", timeout_s=SHOWN_WITHIN_S)
        assert "figures are of" in told
        assert page.rows("Instances"), "what was known stays in sight"
        assert engine.predict() == 200, "nobody needs the supervisor for an answer"
        page.wait("() => document.title.startsWith('Not reachable')")
    page.wait_verdict("Serving")
    page.wait(PROCESS_IS_GONE, before)
    assert str(engine.supervisor) in {row[1] for row in page.rows("Processes")}


def test_counters_go_on_where_the_supervisor_was_another(engine: WatchedEngine, open_page: Opener) -> None:
    page = open_page()
    page.wait_verdict("Serving")
    with engine.loaded() as answers:
        page.wait("() => parseFloat(document.getElementById('throughput').textContent) > 0")
        with engine.without_supervisor():
            page.wait_verdict("Not reachable since")
        page.wait_verdict("Serving")
        page.wait("() => parseFloat(document.getElementById('throughput').textContent) > 0")
    assert answers.failures == [] and set(answers.statuses) == {200}
