"""One answered request as bytes of a fixed number: texts are cut, never refused."""

from __future__ import annotations

import struct

from engine.observe.answered import AnsweredRequest, TraceParent

# Moment and duration, six parts, status, batch size, whether there is a trace and whether it is sampled; then bytes:
# trace, span, cache, endpoint, code, request id, deployment, model version, file.
_RECORD = struct.Struct("<Qq6qHHBB2x16s8s8s16s32s128s64s64s96s")
PAYLOAD_BYTES = _RECORD.size
AT_BYTE, TOTAL_BYTE, STATUS_BYTE = 0, 8, struct.calcsize("<Qq6q")  # of a payload
_TRACE_AT = struct.calcsize("<Qq6qHH")
_NO_TRACE = (False, False, b"", b"")
_MOST = 0xFFFF
_FILE_CHARACTERS = 96  # more of it need not be encoded to be cut


def pack_request(answered: AnsweredRequest) -> bytes:
    """The PAYLOAD_BYTES of a request."""
    trace = answered.trace
    has_trace, is_sampled, trace_id, span_id = (
        _NO_TRACE if trace is None else (True, trace.is_sampled, trace.trace_id, trace.span_id)
    )
    return _RECORD.pack(
        answered.at_ns, answered.total_ns, *answered.parts_ns,
        min(answered.status, _MOST), min(answered.batch_size, _MOST), has_trace, is_sampled, trace_id, span_id,
        answered.cache.encode(), answered.endpoint.encode(), answered.code.encode(), answered.request_id.encode(),
        answered.deployment.encode(), answered.model_version.encode(errors="replace"),
        answered.file[:_FILE_CHARACTERS].encode(errors="replace"),
    )  # fmt: skip


def unpack_request(payload: bytes) -> AnsweredRequest:
    """The request of PAYLOAD_BYTES that `pack_request` made, or of any others: then it is nonsense."""
    at_ns, total_ns, *rest = _RECORD.unpack(payload)
    status, batch_size, has_trace, is_sampled, trace_id, span_id, *texts = rest[6:]
    cache, endpoint, code, request_id, deployment, model_version, file = (
        text.rstrip(b"\0").decode(errors="ignore") for text in texts
    )
    return AnsweredRequest(
        at_ns, total_ns, tuple(rest[:6]), status, batch_size, endpoint, code, cache, request_id, deployment,
        model_version, file, TraceParent(trace_id, span_id, bool(is_sampled)) if has_trace else None,
    )  # fmt: skip


def is_sampled(payload: bytes) -> bool | None:
    """Whether the caller of this request traces it; None if it says nothing of traces."""
    has_trace, sampled = payload[_TRACE_AT], payload[_TRACE_AT + 1]
    return bool(sampled) if has_trace else None
