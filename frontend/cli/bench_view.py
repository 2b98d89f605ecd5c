"""What `nightscan bench` prints: rates and latencies, where the server's time goes, and what that means."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from frontend.cli.load import CLIENT_LIMIT, LoadResult
from frontend.cli.printing import WIDTH
from frontend.cli.tables import table

_RATES = ("at once", "requests/s", "p50 ms", "p95 ms", "p99 ms", "max ms", "not 200", "client")
_WORTH = 0.9  # of the best rate: fewer connections that reach it wait less


def bench_view(results: Sequence[LoadResult]) -> str:
    """For people."""
    lines = table(_RATES, [_rates(each) for each in results], width=WIDTH)
    lines += _split(results)
    return "\n".join([*lines, "", *_meaning(results)])


def _rates(result: LoadResult) -> tuple[str, ...]:
    shares = (0.5, 0.95, 0.99, 1.0)
    return (
        str(result.concurrency),
        f"{result.rate:,.1f}",
        *(_ms(result.percentile_ms(share)) for share in shares),
        str(sum(result.others.values())),
        f"{result.client_cores:.0%}",
    )


def _split(results: Sequence[LoadResult]) -> list[str]:
    """The mean of each part of the server's, and what lies outside of it."""
    names = list(dict.fromkeys(name for each in results for name in each.parts_ms if name != "total"))
    if not names:
        return ["", "the server does not say where its time goes"]
    rows = [
        (str(each.concurrency), *(_ms(each.parts_ms.get(name)) for name in names), _ms(each.beyond_ms))
        for each in results
    ]
    return ["", "where the time goes, mean ms:", *table(("at once", *names, "beyond it"), rows, width=WIDTH)]


def _meaning(results: Sequence[LoadResult]) -> Iterator[str]:
    best = max(results, key=lambda each: each.rate)
    enough = next(each for each in results if each.rate >= _WORTH * best.rate)
    if best.rate:
        most = f"most: {best.rate:,.1f} requests/s at {best.concurrency} at once"
        yield f"{most}; {enough.concurrency} reach {_WORTH:.0%} of it"
    for each in results:
        if each.others:
            told = ", ".join(f"{number} x {what}" for what, number in each.others.most_common(3))
            yield f"at {each.concurrency} not answered with 200: {told}"[:WIDTH]
    if limited := [str(each.concurrency) for each in results if each.client_was_the_limit]:
        yield f"the client was the limit at {', '.join(limited)}, with over {CLIENT_LIMIT:.0%} of a core"
    else:
        yield "the client was not the limit"
    if cached := sum(each.cached for each in results):
        yield f"{cached} answers came from the cache"


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
