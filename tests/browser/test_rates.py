"""How the page makes rates and percentiles of counters: its own module, run in the browser."""

from __future__ import annotations

from typing import Any

import pytest

from tests.browser.browser_page import BrowserPage

SUM = "({ History }, samples) => { const kept = new History(60000, (one) => one.requests);" \
    " for (const [at, figures] of samples) kept.add(at, figures);" \
    " return kept.over(60000)?.rate((one) => one.requests) ?? null; }"


def counted(**requests: int) -> dict[str, Any]:
    return {name: {"requests": count} for name, count in requests.items()}


@pytest.mark.parametrize(
    ("samples", "rate"),
    [
        ([], None),
        ([(0, counted(a=5))], None),
        ([(0, counted(a=5)), (2000, counted(a=25))], 10),
        ([(0, counted(a=5, b=1)), (2000, counted(a=25, b=3))], 11),
        ([(0, counted(a=5)), (1000, counted(a=9)), (2000, counted(a=1)), (3000, counted(a=2))], 1),  # all began anew
        ([(0, counted(a=5)), (30_000, counted(a=9)), (31_000, counted(a=12))], 3),  # nobody looked meanwhile
        ([(0, counted(a=0)), (1000, counted(a=4, b=900))], 4),  # one that was deployed meanwhile had no beginning
    ],
)  # fmt: skip
def test_a_rate_is_a_difference(plain_page: BrowserPage, samples: list[Any], rate: float | None) -> None:
    assert plain_page.call("history.js", SUM, samples) == rate


def test_a_percentile_lies_within_its_bucket(plain_page: BrowserPage) -> None:
    script = "({ percentile }, [bounds, counts, q]) => percentile(bounds, counts, q)"
    bounds = [0.001, 0.01, 0.1]
    assert plain_page.call("history.js", script, [bounds, [0, 0, 0, 0], 0.5]) is None
    assert plain_page.call("history.js", script, [bounds, [10, 0, 0, 0], 0.5]) == pytest.approx(0.0005)
    assert plain_page.call("history.js", script, [bounds, [50, 50, 0, 0], 0.75]) == pytest.approx(0.0055)
    assert plain_page.call("history.js", script, [bounds, [0, 0, 0, 7], 0.99]) == 0.1


def test_no_figure_is_shown_as_a_zero_or_a_whole_that_it_is_not(plain_page: BrowserPage) -> None:
    texts = plain_page.call(
        "format.js",
        "({ number, share, milliseconds }) => [number(null), number(NaN), number(0), number(0.04), number(1234.5),"
        " share(null), share(0), share(0.0001), share(0.99999), share(1), milliseconds(undefined)]",
    )
    assert texts == ["–", "–", "0", "0.04", "1,235", "–", "0 %", "0.1 %", "99.9 %", "100 %", "–"]
