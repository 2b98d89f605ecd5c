"""The rows of `/requests`."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from engine.clock import now_ns
from engine.observe.answered import PARTS, UNKNOWN_NS, AnsweredRequest, TraceParent
from engine.observe.recent_requests import recent_requests

MS = 10**6


def request(at_ns: int, total_ns: int, status: int = 200, **changes: Any) -> AnsweredRequest:
    code = "" if status == 200 else "QUEUE_FULL"
    one = AnsweredRequest(
        at_ns, total_ns, (UNKNOWN_NS,) * len(PARTS), status, 0, "optimized", code, "", f"id-{at_ns}", "", "", "", None
    )
    return one._replace(**changes)


def test_each_list_has_its_own_order_and_nothing_twice() -> None:
    now = now_ns()
    found = [request(now - k * MS, (k * 7 % 5 + 1) * MS, 429 if k % 2 else 200) for k in range(10)]
    lists = recent_requests([*found, *found], limit=4)
    ids = {name: [row["request_id"] for row in rows] for name, rows in lists.items()}
    assert ids["last"] == [each.request_id for each in found[:4]]
    assert ids["errors"] == [each.request_id for each in found[1:8:2]]
    assert [row["total_ms"] for row in lists["slowest"]] == [5.0, 5.0, 4.0, 4.0]


def test_what_is_unknown_is_null_and_has_no_part() -> None:
    now = now_ns()
    (row,) = recent_requests([request(now, 3 * MS, 503)])["last"]
    at = datetime.fromisoformat(row.pop("at").replace("Z", "+00:00"))
    assert abs(datetime.now(timezone.utc) - at) < timedelta(seconds=2)
    assert row == {
        "request_id": f"id-{now}", "file": None, "deployment": None, "model_version": None, "endpoint": "optimized",
        "status": 503, "code": "QUEUE_FULL", "total_ms": 3.0, "parts_ms": {}, "batch_size": None, "cache": None,
        "trace_id": None,
    }  # fmt: skip


def test_parts_are_those_of_server_timing_in_milliseconds() -> None:
    trace = TraceParent(b"\x0a" * 16, b"\x0b" * 8, False)
    one = request(now_ns(), 6 * MS, parts_ns=(MS, 2 * MS, UNKNOWN_NS, 0, 3 * MS, 1), trace=trace)
    (row,) = recent_requests([one])["last"]
    assert row["parts_ms"] == {"receive": 1.0, "decode": 2.0, "queue": 0.0, "compute": 3.0, "answer": 0.0}
    assert row["trace_id"] == "0a" * 16


def test_a_slow_request_of_long_ago_is_no_news() -> None:
    now = now_ns()
    old, new = request(now - 3600 * 10**9, 10**9), request(now, MS)
    lists = recent_requests([old, new])
    assert [row["request_id"] for row in lists["slowest"]] == [new.request_id] and len(lists["last"]) == 2


def test_nobody_has_answered_anything() -> None:
    assert recent_requests([]) == {"last": [], "slowest": [], "errors": []}
