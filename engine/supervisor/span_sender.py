"""Requests as OpenTelemetry spans, sent to a collector. The only module that imports OpenTelemetry (extra `otel`).

A span for the whole of a request, of kind server, and one below it for each part that took time. Parts are laid one
behind the other, which is how they pass but for the windows of one recording, computed beside each other. File names
are not among the attributes: where a collector stands is not for us to know.
"""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Iterator, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode
from requests import RequestException

from engine.clock import NS_PER_S, now_ns, wall_clock_s
from engine.observe.answered import PARTS, AnsweredRequest
from engine.supervisor.collector_session import CollectorSession

_PATH = "/v1/traces"
_TIMEOUT_S = 5  # of one sending with all its tries: meanwhile rings are written over, and what they lose is counted
_TRACE_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_FIRST_SERVER_ERROR = 500
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope("nightscan")
_NAME, _UNNAMED = "service.name", "unknown_service"  # what the library calls a service that nobody has named


class SpanSender:
    """A `Collector`. One thread sends; `close` may be called from another."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint`: without the path of traces. What else the library reads from OTEL_ variables, it does."""
        # What it has to say of a collector that is away is said once, by whoever sends.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._session = CollectorSession()
        self._exporter = OTLPSpanExporter(endpoint.rstrip("/") + _PATH, timeout=_TIMEOUT_S, session=self._session)
        self._resource = _resource()

    def send(self, requests: Sequence[AnsweredRequest]) -> str:
        """Why the collector has not taken them; "" where it has. Waits some seconds at most."""
        spans = [span for request in requests for span in self._spans(request)]
        self._session.said = ""
        try:
            taken = self._exporter.export(spans) is SpanExportResult.SUCCESS
        except RequestException:  # older releases of the library let some through
            taken = False
        return "" if taken else self._session.said or "they cannot be encoded"

    def close(self) -> None:
        """Ends a sending that is under way between two tries."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _spans(self, request: AnsweredRequest) -> Iterator[ReadableSpan]:
        ended_at_ns = int(wall_clock_s() * NS_PER_S) - (now_ns() - request.at_ns)
        began_at_ns = ended_at_ns - request.total_ns
        trace = request.trace
        whole = _context(_trace_id_of(request))
        parent = None if trace is None else SpanContext(
            whole.trace_id, int.from_bytes(trace.span_id, "big"), is_remote=True, trace_flags=_SAMPLED
        )  # fmt: skip
        yield ReadableSpan(
            f"predict {request.endpoint}", whole, parent, self._resource, _attributes(request), kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR) if request.status >= _FIRST_SERVER_ERROR else Status(),
            start_time=began_at_ns, end_time=ended_at_ns, instrumentation_scope=_SCOPE,
        )  # fmt: skip
        at_ns = began_at_ns
        for name, part_ns in zip(PARTS, request.parts_ns):
            if part_ns > 0:
                yield ReadableSpan(
                    name, _context(whole.trace_id), whole, self._resource, kind=SpanKind.INTERNAL,
                    start_time=at_ns, end_time=at_ns + part_ns, instrumentation_scope=_SCOPE,
                )  # fmt: skip
                at_ns += part_ns


def _resource() -> Resource:
    """As OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say."""
    found = Resource.create()
    is_named = not str(found.attributes.get(_NAME, _UNNAMED)).startswith(_UNNAMED)
    return found if is_named else found.merge(Resource({_NAME: "nightscan"}))


def _context(trace_id: int) -> SpanContext:
    return SpanContext(trace_id, random.getrandbits(64) or 1, is_remote=False, trace_flags=_SAMPLED)


def _trace_id_of(request: AnsweredRequest) -> int:
    """The caller's; else the request's own id, if it has the form of one, by which the trace is found again."""
    if request.trace is not None:
        return int.from_bytes(request.trace.trace_id, "big")
    return int(request.request_id, 16) if _TRACE_ID.fullmatch(request.request_id) else random.getrandbits(128) or 1


def _attributes(request: AnsweredRequest) -> dict[str, str | int]:
    found: dict[str, str | int] = {
        "http.request.method": "POST",
        "http.response.status_code": request.status,
        "error.type": request.code,
        "nightscan.request_id": request.request_id,
        "nightscan.deployment": request.deployment,
        "nightscan.model_version": request.model_version,
        "nightscan.batch_size": request.batch_size,
        "nightscan.cache": request.cache,
    }
    return {name: value for name, value in found.items() if value}
