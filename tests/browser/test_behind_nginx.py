"""The page where nginx has it: under a prefix, behind a password, with the files that we ship."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.browser_page import OPERATOR, Opener
from tests.browser.watched_engine import WatchedEngine
from tests.conformance.nginx import Site, running_nginx
from tests.conformance.wire import Address


@pytest.mark.parametrize("fragment", ["", "#token=of-the-engine"])
def test_under_a_prefix_it_shows_figures_but_no_requests(
    engine: WatchedEngine, open_page: Opener, runtime_dir: Path, fragment: str
) -> None:
    upstream = Address(engine.server.port)
    site = Site("site-strips-api.conf", page_port=engine.status_port)
    with running_nginx(runtime_dir, site, upstream) as proxy:
        (runtime_dir / "passwords").write_text(f"{OPERATOR}:{{PLAIN}}owl\n")
        page = open_page(fragment, url=f"{proxy.address.url}/nightscan/", password="owl")
        page.wait_verdict("Serving")
        page.wait("() => !document.getElementById('requests-note').hidden")
        assert page.rows("Instances")
        page.troubles[:] = [each for each in page.troubles if "401" not in each]  # the browser's own, of the token
