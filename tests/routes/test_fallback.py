"""The original API while the engine does not serve: a real HTTP server beside, asked by the handlers themselves."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from engine.config import Settings
from engine.observe.metrics import FALLBACK_OUTCOMES
from frontend.attach import current_stores
from frontend.predict.context import RouteContext
from frontend.predict.fallback import OriginalApi
from frontend.predict.pending import PendingOriginal, finished
from frontend.predict.prediction import AwaitingRoom
from frontend.routes.table import all_routes
from frontend.server.message import HttpRequest, HttpResponse
from frontend.wsgi.integration import original_of
from tests.support.original import How, original_server
from tests.support.wait import wait_for

RAW = b"RIFF....WAVE"


class OriginalServer(http.server.ThreadingHTTPServer):
    """Answers like the original API and remembers what it was asked."""

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Answering(http.server.BaseHTTPRequestHandler):
    server: OriginalServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        answer = b'[{"segment":"original"}]'
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.send_header("Set-Cookie", "secret=1")
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def original() -> Iterator[OriginalServer]:
    server = OriginalServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def request_to(path: str, **headers: str) -> HttpRequest:
    fields = {"content-type": "audio/wav", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return HttpRequest("POST", path, "", fields, RAW, "192.0.2.1")


def answered(settings: Settings, request: HttpRequest) -> HttpResponse:
    """By the handlers, as nobody is attached."""
    api = original_of(settings)
    begun = all_routes(RouteContext(settings, api)).routes[request.method, request.path].begin(request, None)
    assert begun is not None and not isinstance(begun, AwaitingRoom)
    return finished(begun)


@pytest.mark.parametrize("path", ["/api/predict", "/predict", "/", "/api/optimized/predict"])
def test_the_original_answers_while_nobody_is_attached(original: OriginalServer, path: str) -> None:
    response = answered(Settings(original_api_url=original.url), request_to(path, authorization="Bearer t"))
    assert response.status == 200 and json.loads(response.body) == [{"segment": "original"}]
    headers = dict(response.headers)
    assert headers["X-Served-By"] == "original" and "X-Request-ID" in headers and "Set-Cookie" not in headers
    ((asked_path, asked_headers, body),) = original.asked
    assert (asked_path, body) == ("/api/predict", RAW)
    assert asked_headers["content-type"] == "audio/wav" and asked_headers["authorization"] == "Bearer t"


def test_a_path_in_the_url_is_taken_as_it_is(original: OriginalServer) -> None:
    answered(Settings(original_api_url=f"{original.url}/v1/classify"), request_to("/predict"))
    assert original.asked[0][0] == "/v1/classify"


def test_its_errors_are_handed_back(original: OriginalServer) -> None:
    original.status = 500
    assert answered(Settings(original_api_url=original.url), request_to("/predict")).status == 500


def test_an_event_loop_is_not_blocked_by_it(original: OriginalServer) -> None:
    settings = Settings(original_api_url=original.url)
    api = OriginalApi(settings)
    begun = all_routes(RouteContext(settings, api)).routes["POST", "/predict"].begin(request_to("/predict"), None)
    assert isinstance(begun, PendingOriginal) and begun.finish_at_once() is None and not original.asked
    told = threading.Event()
    begun.add_done_callback(lambda _: told.set())
    assert told.wait(10)
    response = begun.finish_at_once()
    assert isinstance(response, HttpResponse) and response.status == 200


def test_two_servers_that_name_each_other_do_not_pass_a_request_round(original: OriginalServer) -> None:
    response = answered(Settings(original_api_url=original.url), request_to("/predict", x_nightscan_fallback="1"))
    assert response.status == 503 and not original.asked


def test_without_an_original_it_is_503(original: OriginalServer) -> None:
    for settings in (Settings(), Settings(original_api_url=original.url, fallback_to_original=False)):
        response = answered(settings, request_to("/api/optimized/predict"))
        assert response.status == 503 and int(dict(response.headers)["Retry-After"]) >= 1
        assert json.loads(response.body)["error"] == "Optimized serving not available"
    assert not original.asked


def test_an_original_that_is_gone_is_503_too(original: OriginalServer) -> None:
    settings = Settings(original_api_url="http://127.0.0.1:1", http_connection_timeout=0.5)
    assert answered(settings, request_to("/predict")).status == 503


def test_a_bad_request_is_refused_without_asking(original: OriginalServer) -> None:
    request = HttpRequest("POST", "/predict", "", {"content-type": "text/plain"}, b"x", "192.0.2.1")
    assert answered(Settings(original_api_url=original.url), request).status == 400
    assert not original.asked


def test_two_applications_of_one_process_may_have_an_original_each(original: OriginalServer) -> None:
    with original_server() as other:
        for _ in range(2):
            assert answered(Settings(original_api_url=original.url), request_to("/predict")).status == 200
            assert answered(Settings(original_api_url=other.url), request_to("/predict")).status == 200
        assert len(other.requests) == 2 and len(original.asked) == 2 and other.connections == 1


def test_how_each_ended_is_counted() -> None:
    with original_server() as original:
        settings = Settings(original_api_url=original.url)

        def counted() -> dict[str, int]:
            figures = current_stores(settings).totals()
            return {outcome: figures[f"fallback.{outcome}"] for outcome in FALLBACK_OUTCOMES}

        assert answered(settings, request_to("/predict")).status == 200
        original.status = 400
        assert answered(settings, request_to("/predict")).status == 400
        assert counted() == {"answered": 2, "failed": 0, "refused": 0}
        original.how = How.CUT
        assert answered(settings, request_to("/predict")).status == 503
        assert answered(settings, request_to("/predict", x_nightscan_fallback="1")).status == 503
        assert counted() == {"answered": 2, "failed": 1, "refused": 1}
        assert answered(settings, request_to("/predict", x_request_timeout_ms="1")).status == 503
        assert sum(counted().values()) == 5


def test_what_the_original_answers_nobody_counts_for_nothing() -> None:
    with original_server() as original:
        original.how = How.SLOW
        settings = Settings(original_api_url=original.url)
        table = all_routes(RouteContext(settings, original_of(settings)))
        begun = table.routes["POST", "/predict"].begin(request_to("/predict"), None)
        assert isinstance(begun, PendingOriginal)
        told = threading.Event()
        begun.add_done_callback(lambda _: told.set())
        wait_for(lambda: bool(original.requests), "it is asked")
        begun.cancel()
        assert told.wait(10) and finished(begun).status == 400
        figures = current_stores(settings).totals()
        assert not any(figures[f"fallback.{outcome}"] for outcome in FALLBACK_OUTCOMES)
        assert figures["journal.recorded"] == 0, "nobody was answered"


def test_an_account_in_the_address_is_used_unless_the_caller_has_one(original: OriginalServer) -> None:
    settings = Settings(original_api_url=original.url.replace("http://", "http://night:p%40ss@"))
    assert answered(settings, request_to("/predict")).status == 200
    assert answered(settings, request_to("/predict", authorization="Bearer t")).status == 200
    sent = [headers["authorization"] for _, headers, _ in original.asked]
    assert sent == ["Basic " + base64.b64encode(b"night:p@ss").decode(), "Bearer t"]
