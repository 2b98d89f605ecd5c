"""The results as a picture: bars of requests/s, one panel for each workload and concurrency."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

from benchmarks.rivals.results import Results, middle
from benchmarks.rivals.table import number

_WIDTH, _LEFT, _RIGHT = 860, 150, 300
_TOP, _TITLE, _BAR, _GAP, _PANEL_GAP = 56, 30, 20, 8, 22
_OURS, _OTHERS, _TEXT, _FAINT = "#1f6f8b", "#a9b4bc", "#1b1f23", "#57606a"


def picture(results: Results) -> str:
    """An SVG file; ours in colour, the fastest above."""
    panels: list[str] = []
    at = _TOP
    for group in results.groups():
        panels.extend(_panel(results, group, at))
        at += _TITLE + len(results.servers(group)) * (_BAR + _GAP) + _PANEL_GAP
    foot = " · ".join(filter(None, (results.about.get(name) for name in ("processor", "date"))))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{at + 20}" viewBox="0 0 {_WIDTH} {at + 20}"'
        ' font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">',
        f'<rect width="{_WIDTH}" height="{at + 20}" fill="#ffffff"/>',
        _text(16, 26, "Requests per second", size=17, weight="600"),
        _text(16, 44, "the same model and recordings, no two requests alike; medians", size=12, fill=_FAINT),
        *panels,
        _text(16, at + 6, foot, size=11, fill=_FAINT),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _panel(results: Results, group: tuple[str, int], top: int) -> Iterator[str]:
    workload, concurrency = group
    yield _text(16, top + 16, f"{workload}, {concurrency} connections", size=13, weight="600")
    servers = results.servers(group)
    widest = middle(results.of(servers[0], group), "requests_per_s") or 1.0
    for place, server in enumerate(servers):
        yield from _bar(results, server, group, top + _TITLE + place * (_BAR + _GAP), widest)


def _bar(results: Results, server: str, group: tuple[str, int], top: int, widest: float) -> Iterator[str]:
    rows = results.of(server, group)
    rate = middle(rows, "requests_per_s")
    width = max(1.0, (_WIDTH - _LEFT - _RIGHT) * rate / widest)
    ours = server in results.ours
    middle_line = top + _BAR - 6
    rival = results.best_rival(group)
    times = f" · {results.ratio(server, rival, group):.2f} x the best rival" if ours and rival else ""
    yield _text(_LEFT - 8, middle_line, server, size=12, anchor="end", weight="600" if ours else "400")
    yield (
        f'<rect x="{_LEFT}" y="{top}" width="{width:.1f}" height="{_BAR}" rx="2" fill="{_OURS if ours else _OTHERS}"/>'
    )
    yield _text(_LEFT + width + 6, middle_line, number(rate), size=12, weight="600")
    beside = f"p99 {number(middle(rows, 'p99_ms'))} ms{times}"
    yield _text(_LEFT + width + 60, middle_line, beside, size=11, fill=_FAINT)


def _text(
    x: float, y: float, text: str, *, size: int, anchor: str = "start", weight: str = "400", fill: str = _TEXT
) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-size="{size}" font-weight="{weight}" fill="{fill}">{escape(text)}</text>'
