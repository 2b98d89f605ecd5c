"""What the transport refuses has the words, the id and the cross-origin fields of the route it was meant for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import flask
import pytest

from engine.clock import NS_PER_S
from engine.config import Settings
from engine.observe.histograms import http_duration
from engine.observe.metrics import HTTP_STATUSES
from frontend.app import create_app
from frontend.attach import current_stores
from frontend.lane.fast_lane import FastLane, fast_lane
from frontend.server.transport_limits import TransportLimits
from tests.support.http import Connection, Response, request_bytes
from tests.support.lane_host import hosted

ORIGIN = "https://map.example"
SETTINGS = Settings(api_cors_origins=ORIGIN)
LIMITS = TransportLimits(
    header_timeout_s=0.2,
    body_idle_timeout_s=0.2,
    inflight_wait_s=0.2,
    max_inflight_bytes=0,
    longest_body_bytes=2_000_000,
)
FROM_A_PAGE = {"Origin": ORIGIN, "X-Request-ID": "the-id"}
POST = "/api/optimized/predict"
LEGACY_POST = "/api/predict"


@pytest.fixture(scope="module")
def own() -> Iterator[FastLane]:
    application = fast_lane(create_app(SETTINGS), settings=SETTINGS)
    with closing(application):
        yield application


def half_a_body(path: str) -> bytes:
    return request_bytes("POST", path, b"half", {"Content-Length": "1000", **FROM_A_PAGE})


def too_many_fields(path: str) -> bytes:
    return request_bytes("POST", path, b"", {**FROM_A_PAGE, **{f"X-{number}": "v" for number in range(101)}})


def unfinished_head(path: str) -> bytes:
    return request_bytes("POST", path, b"", FROM_A_PAGE)[:-2]


def broken_chunks(path: str) -> bytes:
    return request_bytes("POST", path, b"nonsense\r\n", {"Transfer-Encoding": "chunked", **FROM_A_PAGE})


def answer_of(application: FastLane, sent: bytes, limits: TransportLimits = LIMITS) -> Response:
    with hosted(application, limits) as host, Connection(host.address) as connection:
        connection.send(sent)
        return connection.read_response()


def check(response: Response, path: str, status: int, code: str) -> None:
    told: dict[str, Any] = response.json()
    assert response.status == status and told["error"]
    assert response.headers["x-request-id"] == "the-id"
    assert response.headers["access-control-allow-origin"] == ORIGIN
    if path == LEGACY_POST:
        assert told.keys() == {"error"}
    else:
        assert (told["code"], told["request_id"]) == (code, "the-id")


@pytest.mark.parametrize("path", [POST, LEGACY_POST, "/nowhere"])
@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (half_a_body, 408, "REQUEST_TIMEOUT"),
        (unfinished_head, 408, "REQUEST_TIMEOUT"),
        (too_many_fields, 431, "HEADERS_TOO_LARGE"),
        (broken_chunks, 400, "BAD_REQUEST"),
    ],
)
def test_a_page_can_read_why_its_request_was_refused_on_the_way(
    own: FastLane, path: str, sent: Any, status: int, code: str
) -> None:
    check(answer_of(own, sent(path)), path, status, code)


@pytest.mark.parametrize("path", [POST, LEGACY_POST])
def test_a_page_can_read_that_there_was_no_room_for_its_upload(own: FastLane, path: str) -> None:
    first = request_bytes("POST", path, b"x" * 1_500_000, {"Content-Length": "1900000"})
    second = request_bytes("POST", path, b"x" * 1_500_000, {"Content-Length": "1900000", **FROM_A_PAGE})
    limits = LIMITS.changed(body_idle_timeout_s=30)
    with hosted(own, limits) as host, Connection(host.address) as holder, Connection(host.address) as late:
        holder.send(first)
        late.send(second)
        response = late.read_response()
    check(response, path, 503, "TOO_MANY_UPLOADS")
    assert int(response.headers["retry-after"]) > 0


def test_another_origin_is_told_nothing(own: FastLane) -> None:
    response = answer_of(own, half_a_body(POST).replace(ORIGIN.encode(), b"https://other.example"))
    assert response.status == 408 and "access-control-allow-origin" not in response.headers


def test_what_is_no_http_still_gets_an_id(own: FastLane) -> None:
    response = answer_of(own, b"NONSENSE\r\n\r\n")
    assert response.status == 400 and response.headers["x-request-id"] == response.json()["request_id"]


def test_the_paths_of_somebody_elses_application_get_no_cross_origin_fields_of_ours() -> None:
    with closing(fast_lane(flask.Flask("theirs"), settings=SETTINGS)) as application:
        response = answer_of(application, half_a_body("/theirs"))
    assert (response.status, response.json()["code"]) == (408, "REQUEST_TIMEOUT")
    assert "access-control-allow-origin" not in response.headers


def counted(method: str, endpoint: str) -> tuple[int, int, float]:
    """Answers by their status, the same by their duration, and how long they took together."""
    figures = current_stores(SETTINGS).row.figures()
    shape = http_duration(method, endpoint)
    by_status = sum(figures[f"http.{method}.{endpoint}.{status}"] for status in (*HTTP_STATUSES, "other"))
    return by_status, sum(figures[bucket] for bucket in shape.buckets), figures[shape.total] / NS_PER_S


@pytest.mark.parametrize(
    ("path", "route"), [(POST, ("POST", "optimized")), (LEGACY_POST, ("POST", "legacy")), ("/x", ("other", "other"))]
)
def test_what_is_refused_on_its_way_counts_with_the_time_that_it_took(
    own: FastLane, path: str, route: tuple[str, str]
) -> None:
    before = counted(*route)
    assert answer_of(own, half_a_body(path)).status == 408
    answers, durations, took_s = (now - then for now, then in zip(counted(*route), before))
    assert (answers, durations) == (1, 1) and took_s > LIMITS.body_idle_timeout_s / 2


def test_a_connection_too_many_counts_as_an_answer(own: FastLane) -> None:
    before = counted("other", "other")
    response = answer_of(own, b"", LIMITS.changed(max_connections=0))
    assert (response.status, response.json()["code"]) == (503, "TOO_MANY_CONNECTIONS")
    assert response.headers["retry-after"] == "1" and response.headers["x-request-id"]
    assert [now - then for now, then in zip(counted("other", "other"), before)][:2] == [1, 1]
