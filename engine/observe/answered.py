"""One request that was answered over HTTP, as it is remembered for a while: for people who look, and for traces."""

from __future__ import annotations

from typing import NamedTuple

# What the time of a request is divided into, in the order in which it passes. Together they are its whole time.
PARTS = ("receive", "decode", "cache", "queue", "compute", "answer")
UNKNOWN_NS = -1  # of a part that the request had not, or that cannot be told


class TraceParent(NamedTuple):
    """What the caller said of its own trace (the header `traceparent`)."""

    trace_id: bytes  # 16, not all zero
    span_id: bytes  # 8, not all zero: the caller's span
    is_sampled: bool


class AnsweredRequest(NamedTuple):
    """Texts may be longer than what is kept of them; see `engine/shm/request_record.py`."""

    at_ns: int  # when the answer was complete, as `clock.now_ns` counts
    total_ns: int  # since the headers were there
    parts_ns: tuple[int, ...]  # one for each of PARTS, or UNKNOWN_NS
    status: int  # of HTTP
    batch_size: int  # 0: nothing was computed
    endpoint: str
    code: str  # of the error; "" where there was none
    cache: str  # where the answer is from: "" computed, else "l1", "l2", "shared"
    request_id: str
    deployment: str  # "" where it is not known
    model_version: str  # the same
    file: str  # the same
    trace: TraceParent | None
