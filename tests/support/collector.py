"""A receiver of OpenTelemetry's protocol over HTTP, as a collector is one: decodes what it gets, and keeps it."""

from __future__ import annotations

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """Use as a context manager. `status`: what it answers; anything but 200 refuses."""

    def __init__(self, status: int = 200) -> None:
        self.spans: list[Span] = []
        self.services: set[str] = set()
        self.bodies = 0
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.bodies += 1
                if status == 200:
                    assert self.path == "/v1/traces"
                    collector._take(ExportTraceServiceRequest.FromString(body))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """To nobody."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def trace(self, trace_id: str) -> list[Span]:
        """Its spans, the one without a parent among them first, then by their beginnings."""
        found = [span for span in self.spans if span.trace_id.hex() == trace_id]
        own = {span.span_id for span in found}
        return sorted(found, key=lambda span: (span.parent_span_id in own, span.start_time_unix_nano))

    def _take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            named = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.services.add(named["service.name"])
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)


class EndlessCollector:
    """Takes what it is sent, and answers with a body that never ends, a piece each `pause_s`. A context manager.

    `has_head`: False for one whose head has no end already.
    """

    def __init__(self, pause_s: float, *, has_head: bool = True) -> None:
        self._head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n" if has_head else b"HTTP/1.1 200 OK\r\nX-"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._piece = b"x" * (1 if pause_s else 65536)
        self._over = threading.Event()
        self._pause_s = pause_s
        self._thread = threading.Thread(target=self._run)
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent_bytes = 0
        self.ended = False

    def __enter__(self) -> EndlessCollector:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        connection, _ = self._listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(self._head)
            while not self._over.wait(self._pause_s):
                connection.sendall(self._piece)
                self.sent_bytes += len(self._piece)
        self.ended = True


def attributes(span: Span) -> dict[str, str | int]:
    """Texts and whole numbers by name."""
    return {
        each.key: each.value.int_value if each.value.HasField("int_value") else each.value.string_value
        for each in span.attributes
    }
