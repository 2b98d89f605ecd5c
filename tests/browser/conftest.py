"""One browser and one engine for all tests of this folder: what a test kills of it has healed at its end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.browser_page import CHROMIUM, FLAGS, BrowserPage, Opener
from tests.browser.watched_engine import WatchedEngine
from tests.support.leaks import kept_children


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def engine() -> Iterator[WatchedEngine]:
    with WatchedEngine() as engine:
        yield engine


@pytest.fixture(scope="package")
def plain_page(browser: Browser, engine: WatchedEngine) -> Iterator[BrowserPage]:
    """A tab in which modules of the page can be called."""
    page = BrowserPage.opened(browser, engine.page_url)
    yield page
    page.close()


@pytest.fixture
def open_page(browser: Browser, engine: WatchedEngine) -> Iterator[Opener]:
    """`open_page(end="", url=, width=, scheme=, password=)`: a tab on the page, or on `url`, each in its own window.

    None of them may have been in trouble at the end.
    """
    opened: list[BrowserPage] = []

    def open_one(end: str = "", *, url: str = engine.page_url, **how: Any) -> BrowserPage:
        opened.append(BrowserPage.opened(browser, url + end, **how))
        return opened[-1]

    yield open_one
    for page in opened:
        page.close()
    _keep_browser()
    assert [trouble for page in opened for trouble in page.troubles] == []


def _keep_browser() -> None:
    """The browser is not the test's: it starts and ends processes of its own when it likes."""
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # a zombie is one, too
            if "chromium" in " ".join(child.cmdline()):
                kept_children.add(child.pid)
