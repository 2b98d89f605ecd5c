"""The last, the slowest and the failed requests of the machine, as `/requests` shows them.

Every process remembers its last ones, and apart from them its last failures and the slowest of a minute, which at a
thousand requests a second would be gone at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from engine.clock import NS_PER_MS, NS_PER_S, now_ns, wall_clock_s
from engine.observe.answered import PARTS, UNKNOWN_NS, AnsweredRequest

FIRST_ERROR_STATUS = 400
LISTED = 50  # of each list, unless asked otherwise
# Before the newest one: what a process that died long ago remembers of its start is no news.
SLOW_WITHIN_NS = 600 * NS_PER_S


def recent_requests(answered: Iterable[AnsweredRequest], *, limit: int = LISTED) -> dict[str, list[dict[str, Any]]]:
    """`last` and `errors`, newest first, and `slowest`, slowest first, `limit` rows each at most; None is unknown.

    They hold file names and request ids: for those who may see them. `answered`: see `MachineSegment.answered`; one
    that is in it twice is shown once.
    """
    newest_first = sorted(set(answered), key=lambda each: -each.at_ns)
    since_ns = newest_first[0].at_ns - SLOW_WITHIN_NS if newest_first else 0
    slowest = sorted((each for each in newest_first if each.at_ns > since_ns), key=lambda each: -each.total_ns)
    failed = [each for each in newest_first if each.status >= FIRST_ERROR_STATUS]
    return {
        name: [_row(each) for each in found[:limit]]
        for name, found in (("last", newest_first), ("slowest", slowest), ("errors", failed))
    }


def _row(answered: AnsweredRequest) -> dict[str, Any]:
    ago_s = (now_ns() - answered.at_ns) / NS_PER_S
    at = datetime.fromtimestamp(wall_clock_s() - ago_s, timezone.utc)
    parts = zip(PARTS, answered.parts_ns, strict=True)
    return {
        "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "request_id": answered.request_id,
        "file": answered.file or None,
        "deployment": answered.deployment or None,
        "model_version": answered.model_version or None,
        "endpoint": answered.endpoint,
        "status": answered.status,
        "code": answered.code or None,
        "total_ms": _ms(answered.total_ns),
        "parts_ms": {name: _ms(part_ns) for name, part_ns in parts if part_ns != UNKNOWN_NS},
        "batch_size": answered.batch_size or None,
        "cache": answered.cache or None,
        "trace_id": None if answered.trace is None else answered.trace.trace_id.hex(),
    }


def _ms(duration_ns: int) -> float:
    return round(duration_ns / NS_PER_MS, 3)
