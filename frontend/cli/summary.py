"""How the engine is, on one screen: 24 lines of 80 columns, the verdict first, and what does not fit is counted."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from frontend.cli.looking import Sight
from frontend.cli.printing import LINES, WIDTH, wrapped
from frontend.cli.tables import table
from frontend.cli.verdict import Advice

_LONGEST_ADVICE = 3  # lines of why, and of do
_MOST_DEPLOYMENTS = 6
_WIDEST = (27, 8, 4, 14, 16, 5)  # columns of each; the first is that of the name that is given where none is
_HEADS = ("deployment", "state", "ver", "ready", "form", "queue")


def summary(sight: Sight) -> str:
    """Of a sight, for people."""
    verdict, document = sight.verdict, sight.document
    head = [f"{verdict.state.value}: {verdict.text}"[:WIDTH]]
    body = [*_where(sight), *(_body(document) if document is not None else ())]
    room = LINES - len(head) - len(body)
    return "\n".join([*head, *advice_lines(verdict.advice, room), *body])


def advice_lines(advice: tuple[Advice, ...], room: int) -> list[str]:
    """Each with why and what to do; as many as there is room for, and how many more there are."""
    lines: list[str] = []
    for number, each in enumerate(advice):
        told = [*_wrapped("why", each.why), *_wrapped("do", each.do)]
        left = len(advice) - number
        if len(lines) + len(told) + (left > 1) > room:
            return [*lines, f"  and {left} more: nightscan status --all"]
        lines += told
    return lines


def _wrapped(what: str, text: str) -> list[str]:
    return wrapped(text, f"  {what:<5}", most=_LONGEST_ADVICE)


def _where(sight: Sight) -> list[str]:
    supervisor = (sight.document or {}).get("supervisor")
    if not supervisor:
        return _wrapped("in", sight.runtime_dir)
    frontends = len((sight.document or {}).get("frontends", []))
    told = f"supervisor {supervisor['pid']}, up {duration(supervisor['uptime_s'])}, {frontends} frontends"
    return [*_wrapped("in", f"{sight.runtime_dir}: {told}")]


def _body(document: dict[str, Any]) -> Iterator[str]:
    deployments = document["deployments"]
    if deployments:
        yield ""
        rows = [list(map(_cut, _row(each), _WIDEST)) for each in deployments[:_MOST_DEPLOYMENTS]]
        yield from table(_HEADS, rows, width=WIDTH)
    if len(deployments) > _MOST_DEPLOYMENTS:
        yield f"and {len(deployments) - _MOST_DEPLOYMENTS} more deployments"
    if stores := document.get("stores"):
        yield ""
        yield from textwrap.wrap(_stores(stores), WIDTH, initial_indent="stores  ", subsequent_indent=" " * 8)
    yield ""
    yield "instances, forms of models and figures of stores: nightscan status --all"


def _row(deployment: dict[str, Any]) -> tuple[str, ...]:
    version = next(iter(deployment["versions"]), None)
    if version is None:
        return (str(deployment["deployment"]), str(deployment["state"]), "", "", "", "")
    devices = sorted({str(each["device"]) for each in version["instances"] if each["device"]})
    return (
        str(deployment["deployment"]),
        str(deployment["state"]),
        str(deployment["version"] or version["version"]),
        f"{version['ready']} of {version['pool_size']} {', '.join(devices)}".rstrip(),
        str(deployment.get("tuning", {}).get("form", "")),
        str(version["slots"]["ready"]) if version["slots"] else "",
    )


def _cut(text: str, columns: int) -> str:
    return text if len(text) <= columns else text[: columns - 3] + "..."


def _stores(stores: dict[str, Any]) -> str:
    pools, cache = stores["connection_pools"], stores["cache"]
    told = {
        "Postgres pool": pools["database"]["state"],
        "Redis pool": pools["redis"]["state"],
        "original API": pools["http"]["state"],
        "cache L1": cache["l1"]["state"],
        "cache L2": cache["l2"]["state"],
        "journal": stores["journal"]["backend"],
    }
    return ", ".join(f"{name} {state}" for name, state in told.items())


def duration(seconds: float) -> str:
    """As people say it, in its two largest units."""
    minutes, hours = int(seconds) // 60, int(seconds) // 3600
    if seconds < 60:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min {int(seconds) % 60} s"
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"
