"""The page of the status server in a real browser, as a person meets it, with all that went wrong in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

CHROMIUM = "/usr/bin/chromium"  # Debian's: nothing is downloaded
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
)  # fmt: skip
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
OPERATOR = "operator"
WIDE, NARROW = 1280, 320
_HEIGHT = 900
_CANNOT_CONNECT = "net::ERR_"  # the browser's own line for a server that is gone


class BrowserPage:
    """One tab on `url`. `troubles`: errors in its console, and requests to anybody but its own server."""

    def __init__(self, page: Page, url: str) -> None:
        self.tab = page
        self.url = url
        self.troubles: list[str] = []
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.troubles.append(f"uncaught: {error}"))
        page.on("request", self._watch)
        page.goto(url)

    @classmethod
    def opened(
        cls, browser: Browser, url: str, *, width: int = WIDE, scheme: str = "light", password: str = ""
    ) -> BrowserPage:
        """In a window of its own, which `close` closes. `password`: of OPERATOR, for a proxy that asks for it."""
        context = browser.new_context(
            viewport={"width": width, "height": _HEIGHT},
            color_scheme="dark" if scheme == "dark" else "light",
            reduced_motion="reduce",
            http_credentials={"username": OPERATOR, "password": password} if password else None,
        )
        return cls(context.new_page(), url)

    def beside(self) -> BrowserPage:
        """Another tab of the same window."""
        return BrowserPage(self.context.new_page(), self.url)

    @property
    def context(self) -> BrowserContext:
        return self.tab.context

    def close(self) -> None:
        """Its window with all tabs."""
        self.context.close()

    # --- looking ----------------------------------------------------------------------------------------------------

    def text(self, selector: str) -> str:
        return self.tab.locator(selector).inner_text()

    def wait(self, condition: str, argument: Any = None, *, timeout_s: float = 20.0) -> Any:
        """Until the JavaScript expression, or function of `argument`, is true; looked at with every frame."""
        return self.tab.wait_for_function(condition, arg=argument, timeout=1000 * timeout_s).json_value()

    def wait_verdict(self, beginning: str, *, timeout_s: float = 20.0) -> str:
        """Until the word at the top begins so; the whole of it."""
        self.wait(
            "beginning => document.getElementById('verdict').textContent.startsWith(beginning)",
            beginning,
            timeout_s=timeout_s,
        )
        return self.text("#verdict")

    def rows(self, caption: str) -> list[list[str]]:
        """The cells of the table whose caption begins so, as they read."""
        found = self.tab.evaluate(
            """beginning => {
                const captions = [...document.querySelectorAll("caption")];
                const table = captions.find((each) => each.textContent.startsWith(beginning))?.closest("table");
                return [...(table?.tBodies[0].rows ?? [])].map((row) => [...row.cells].map((each) => each.innerText));
            }""",
            caption,
        )
        return [[str(cell) for cell in row] for row in found]

    def violations(self) -> list[str]:
        """What axe finds against WCAG, A and AA: rule, and the element."""
        found = Axe().run(self.tab, options={"runOnly": WCAG, "resultTypes": ["violations"]})
        return [
            f"{rule['id']}: {node['html'][:200]}" for rule in found.response["violations"] for node in rule["nodes"]
        ]

    def call(self, module: str, script: str, argument: Any = None) -> Any:
        """What `script`, a function of the module's exports and `argument`, returns in the page."""
        code = f"async (argument) => ({script})(await import(new URL({module!r}, document.baseURI).href), argument)"
        return self.tab.evaluate(code, argument)

    # --- what goes wrong --------------------------------------------------------------------------------------------

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and _CANNOT_CONNECT not in message.text:
            self.troubles.append(f"{message.type}: {message.text}")

    def _watch(self, request: Request) -> None:
        if not request.url.startswith(self.url.split("#")[0]):
            self.troubles.append(f"foreign request: {request.url}")


Opener = Callable[..., BrowserPage]
