"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.rivals.results import Results, middle

_HEAD = (
    "server",
    "requests/s",
    "lowest to highest",
    "x best rival",
    "p50 ms",
    "p99 ms",
    "CPU ms/request",
    "PSS MB",
    "first 200 s",
    "errors",
    "off by",
)


def table(results: Results) -> str:
    """Medians over the rounds, who could not take part and why, how each server was configured."""
    return "\n".join([*_about(results), *_tables(results), *_without_a_table(results), *_configured(results)]) + "\n"


def _about(results: Results) -> Iterator[str]:
    for name, text in results.about.items():
        yield f"- {name}: {text}"
    for note in results.notes:
        yield f"- {note}"
    yield ""


def _tables(results: Results) -> Iterator[str]:
    for group in results.groups():
        workload, concurrency = group
        yield f"**{workload}, {concurrency} connection{'s' if concurrency > 1 else ''}**"
        yield ""
        yield f"| {' | '.join(_HEAD)} |"
        yield f"|---{'|--:' * (len(_HEAD) - 1)}|"
        for server in results.servers(group):
            yield f"| {' | '.join(_cells(results, server, group))} |"
        for server, reason in _absent(results, workload):
            yield f"| {server} | {reason} |{' |' * (len(_HEAD) - 2)}"
        yield ""


def _cells(results: Results, server: str, group: tuple[str, int]) -> Iterator[str]:
    rows, rival = results.of(server, group), results.best_rival(group)
    rates = [row.requests_per_s for row in rows]
    ratio = results.ratio(server, rival, group) if rival else float("nan")
    yield f"**{server}**" if server in results.ours else server
    yield number(middle(rows, "requests_per_s"))
    yield f"{number(min(rates))} to {number(max(rates))}"
    yield f"{ratio:.2f}" if ratio == ratio else "-"
    for figure in ("p50_ms", "p99_ms", "cpu_ms_per_request"):
        yield number(middle(rows, figure))
    yield f"{middle(rows, 'pss_mb'):.0f}"
    yield f"{middle(rows, 'first_200_s'):.1f}"
    yield str(sum(row.errors for row in rows))
    yield f"{max(row.difference for row in rows):.0e}"


def _absent(results: Results, workload: str) -> Iterator[tuple[str, str]]:
    for name, reason in results.left_out.items():
        server, _, which = name.partition("@")
        if which == workload:
            yield server, f"did not take part: {_plain(reason)}"


def _without_a_table(results: Results) -> Iterator[str]:
    """Workloads that nobody got through."""
    measured = {workload for workload, _ in results.groups()}
    for workload in dict.fromkeys(name.partition("@")[2] for name in results.left_out):
        if workload not in measured:
            for server, reason in _absent(results, workload):
                yield f"- {server} on {workload} {reason}"
            yield ""


def _configured(results: Results) -> Iterator[str]:
    yield "How they were set up:"
    yield ""
    for server, configured in results.configured.items():
        yield f"- {server}: {configured}"


def _plain(text: str) -> str:
    """One line that does not end a cell."""
    return " ".join(text.split()).replace("|", "/")[:300]


def number(value: float) -> str:
    """Three digits that count, thousands with a comma."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
