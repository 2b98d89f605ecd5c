"""Whoever uses the page: by keyboard, with a screen reader, in the dark, on a telephone."""

from __future__ import annotations

import pytest

from tests.browser.browser_page import NARROW, WIDE, BrowserPage, Opener
from tests.browser.watched_engine import WatchedEngine

# What has the focus: how it is named, and whether that can be seen.
FOCUSED = """() => {
    const node = document.activeElement;
    const style = getComputedStyle(node);
    const box = node.getBoundingClientRect();
    return {
        name: node.id || node.getAttribute("aria-labelledby") || node.textContent.trim(),
        seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2
            && box.right > 0 && box.left < innerWidth,
    };
}"""

SCROLLING = """() => [...document.querySelectorAll(".scroll")]
    .filter((each) => each.scrollWidth > each.clientWidth)
    .map((each) => each.getAttribute("aria-labelledby"))"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_axe_finds_nothing(engine: WatchedEngine, open_page: Opener, scheme: str, width: int) -> None:
    assert engine.predict() == 200
    page = open_page(f"#token={engine.token}", width=width, scheme=scheme)
    page.wait_verdict("Serving")
    page.wait("() => document.querySelector('#requests caption')")
    assert page.violations() == []
    assert not page.tab.evaluate("() => document.documentElement.scrollWidth > innerWidth"), "it scrolls sideways"


def test_axe_finds_nothing_while_the_supervisor_is_gone(engine: WatchedEngine, open_page: Opener) -> None:
    pages = [open_page(scheme=scheme) for scheme in ("light", "dark")]
    for page in pages:
        page.wait_verdict("Serving")
    with engine.without_supervisor():
        for page in pages:
            page.wait_verdict("Not reachable")
            assert page.violations() == []
    for page in pages:
        page.wait_verdict("Serving")


def test_the_keyboard_alone_reaches_everything(open_page: Opener) -> None:
    page = open_page(width=NARROW)
    page.wait_verdict("Serving")
    stops = _tab_through(page)
    assert all(stop["seen"] for stop in stops), stops
    names = [stop["name"] for stop in stops]
    assert names[:2] == ["Skip to the figures", "pause"] and names[-2:] == ["status", "metrics"]
    regions = page.tab.evaluate(SCROLLING)
    assert regions and set(regions) <= set(names), "whatever scrolls can be scrolled by keyboard"


def test_the_keyboard_alone_pauses_skips_and_scrolls(open_page: Opener) -> None:
    page = open_page(width=NARROW)
    page.wait_verdict("Serving")
    page.tab.keyboard.press("Tab")
    page.tab.keyboard.press("Enter")
    assert page.tab.evaluate("() => document.activeElement.id") == "main"
    page.tab.keyboard.press("Shift+Tab")
    page.tab.keyboard.press("Space")
    assert page.text("#heard").startswith("Paused")
    page.tab.keyboard.press("Enter")
    assert page.text("#heard").startswith("Figures of")
    page.tab.keyboard.press("Tab")
    page.tab.keyboard.press("ArrowRight")
    page.wait("() => document.activeElement.classList.contains('scroll') && document.activeElement.scrollLeft > 0")


def _tab_through(page: BrowserPage) -> list[dict[str, object]]:
    stops: list[dict[str, object]] = []
    while len(stops) < 40:
        page.tab.keyboard.press("Tab")
        if page.tab.evaluate("() => document.activeElement === document.body"):
            break
        stops.append(page.tab.evaluate(FOCUSED))
    return stops
