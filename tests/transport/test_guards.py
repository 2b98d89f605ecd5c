"""No engine route answers past a check of the application it lives in, on either way in.

Tried twice: an application that was given its check before serving began, and one that gets it while it serves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import flask
import pytest

from engine.config import Settings
from engine.errors import ConfigError
from frontend.app import create_app
from frontend.lane.fast_lane import FastLane, fast_lane
from frontend.lane.gate import gate_of
from frontend.server.message import HttpResponse
from frontend.wsgi.host_guard import Guard
from frontend.wsgi.integration import register_optimized_endpoints
from tests.support.http import Connection, Response, fetch
from tests.support.lane_host import serve
from tests.transport.hosts import KINDS, PASS

SETTINGS = Settings(enabled=False)  # no engine is started: that its routes refuse for lack of one is answer enough
ENGINE_ROUTES = sorted((rule.rule, method) for rule in create_app(SETTINGS).url_map.iter_rules()
                       for method in (rule.methods or set()) & {"GET", "POST"})  # fmt: skip


@contextmanager
def lane_of(app: flask.Flask, *, enabled: bool | None = None, guard: Guard | None = None) -> Iterator[FastLane]:
    lane = FastLane(app, gate_of(app, enabled=enabled, guard=guard, settings=SETTINGS), SETTINGS)
    try:
        yield lane
    finally:
        lane.close()


def by_flask(app: flask.Flask, method: str, path: str, **headers: str) -> int:
    return app.test_client().open(path, method=method, data=b"x", headers=headers).status_code


def by_lane(address: tuple[str, int], method: str, path: str, **headers: str) -> int:
    return fetch(address, method, path, b"x", **headers).status


@pytest.mark.parametrize("kind", KINDS)
def test_no_engine_route_answers_past_a_check(kind: str) -> None:
    app = create_app(SETTINGS)
    with KINDS[kind](app), lane_of(app) as lane, serve(lane) as address:
        for path, method in ENGINE_ROUTES:
            assert by_flask(app, method, path) == 401, (kind, path)
            assert by_lane(address, method, path) == 401, (kind, path)
            assert by_flask(app, method, path, **{PASS: "1"}) != 401, (kind, path)
            assert by_lane(address, method, path, X_Pass="1") != 401, (kind, path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_check_added_while_serving_counts_from_the_next_request(kind: str) -> None:
    app = create_app(SETTINGS)
    with lane_of(app) as lane, serve(lane) as address:
        for path, method in ENGINE_ROUTES:
            assert by_lane(address, method, path) != 401, (kind, path)
        assert lane.gate.is_open
        with KINDS[kind](app):
            for path, method in ENGINE_ROUTES:
                assert by_lane(address, method, path) == 401, (kind, path)


def test_a_host_with_the_word_given_still_keeps_its_wrapped_views() -> None:
    app = host_app()
    with lane_of(app, enabled=True) as lane, serve(lane) as address:
        assert by_lane(address, "GET", "/api/optimized/health") == 503
        with KINDS["wrapped view_functions"](app):
            assert by_lane(address, "GET", "/api/optimized/health") == 401


def test_an_unchanged_application_is_answered_on_the_lane() -> None:
    app = create_app(SETTINGS)
    with lane_of(app) as lane:
        assert lane.gate.is_open
        open_routes = {(path, method) for method, path in lane.gate.table.routes}
        assert open_routes == set(ENGINE_ROUTES)


def test_serving_does_not_close_the_lane() -> None:
    app = create_app(SETTINGS)
    with lane_of(app) as lane, serve(lane) as address:
        for path, method in [*ENGINE_ROUTES, ("/unknown", "GET"), ("/health", "DELETE")]:
            by_lane(address, method, path)
            by_flask(app, method, path)
        app.logger.debug("made on first use")
        assert lane.gate.is_open


# --- somebody else's application ------------------------------------------------------------------------------------


def host_app() -> flask.Flask:
    app = flask.Flask("host")
    app.add_url_rule("/", "home", lambda: "the host's own page")
    app.add_url_rule("/health", "health", lambda: "the host's own health")
    register_optimized_endpoints(app, SETTINGS)
    return app


def test_another_application_has_no_lane_by_itself() -> None:
    app = host_app()
    with lane_of(app) as lane:
        assert not lane.gate.is_open


def test_the_word_opens_only_what_the_application_gave_to_the_engine() -> None:
    app = host_app()
    with lane_of(app, enabled=True) as lane, serve(lane) as address:
        assert {path for _, path in lane.gate.table.routes} == {
            "/api/optimized/predict",
            "/api/optimized/health",
            "/api/optimized/stats",
        }
        assert fetch(address, "GET", "/health").body == b"the host's own health"


def test_enabled_false_closes_even_our_own() -> None:
    with lane_of(create_app(SETTINGS), enabled=False) as lane:
        assert not lane.gate.is_open


@pytest.mark.parametrize("switch", [{"fast_lane": "off"}, {"enable_async_inference": False}, {"enabled": False}])
@pytest.mark.parametrize("word", [{"enabled": True}, {"guard": lambda *_: None}, {}])
def test_the_settings_can_close_the_lane_whatever_the_code_says(switch: dict[str, Any], word: dict[str, Any]) -> None:
    lane = fast_lane(host_app(), settings=Settings(**switch), **word)
    assert not lane.gate.is_open
    lane.close()


def test_only_a_flask_application_is_taken() -> None:
    app: Any = create_app(SETTINGS).wsgi_app
    with pytest.raises(ConfigError, match="Flask"):
        fast_lane(app, enabled=True, settings=SETTINGS)


# --- a guard of the host's ------------------------------------------------------------------------------------------

SEEN: list[tuple[str, str, str, str]] = []


def guard(method: str, path: str, headers: Mapping[str, str], address: str) -> Any:
    SEEN.append((method, path, headers.get("x-who", ""), address))
    return {
        "response": HttpResponse(403, [("X-By", "guard")], b"no"),
        "flask": flask.Response("no", 403, {"X-By": "guard"}),
        "nonsense": "no",
    }.get(headers.get("x-who", ""), None)


def refused(who: str) -> Response:
    SEEN.clear()
    with lane_of(host_app(), guard=guard) as lane, serve(lane) as address:
        return fetch(address, "POST", "/api/optimized/predict", b"x" * 200_000, X_Who=who)


@pytest.mark.parametrize("who", ["response", "flask"])
def test_a_guards_response_is_sent_and_the_body_not_looked_at(who: str) -> None:
    response = refused(who)
    assert (response.status, response.body, response.headers["x-by"]) == (403, b"no", "guard")
    assert SEEN == [("POST", "/api/optimized/predict", who, "127.0.0.1")]


def test_a_guard_that_answers_nonsense_lets_nobody_pass() -> None:
    assert refused("nonsense").status == 500


def test_a_guard_that_raises_lets_nobody_pass() -> None:
    def broken(*_: Any) -> Any:
        raise ValueError("a bug in the guard")

    def aborting(*_: Any) -> Any:
        flask.abort(418)

    for given, status in ((broken, 500), (aborting, 418)):
        with lane_of(host_app(), guard=given) as lane, serve(lane) as address:
            assert fetch(address, "GET", "/api/optimized/stats").status == status


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "GET", "POST"])
@pytest.mark.parametrize("path", ["/api/optimized/stats", "/api/optimized%2Fstats", "/api/optimized/predict"])
def test_a_guard_is_asked_whatever_a_request_comes_by(method: str, path: str) -> None:
    """By the lane, by the application behind a closed lane, by the application under another server."""

    def refuse(*_: Any) -> Any:
        return HttpResponse(401, [], b"no")

    allowed = {"OPTIONS", "POST"} if path.endswith("predict") else {"OPTIONS", "GET", "HEAD"}
    expected = 405 if method not in allowed else 200 if method == "OPTIONS" else 401
    for enabled in (None, False):
        app = host_app()
        with lane_of(app, guard=refuse, enabled=enabled) as lane, serve(lane) as address:
            with Connection(address) as connection:
                assert connection.request(method, path).status == expected
            assert by_flask(app, method, path) == expected
            assert fetch(address, "GET", "/").status == 200, "the host's own page"


def test_a_second_guard_does_not_open_what_the_first_one_closed() -> None:
    app = host_app()
    with lane_of(app, guard=lambda *_: HttpResponse(401, [], b"first")):
        with pytest.raises(ConfigError, match="once for an application"):
            fast_lane(app, guard=lambda *_: None, settings=Settings())
        with lane_of(app, enabled=True) as second, serve(second) as address:
            assert fetch(address, "GET", "/api/optimized/stats").body == b"first"


def test_a_guard_that_stands_before_nothing_is_refused_and_one_that_came_first_stands_before_all() -> None:
    app = flask.Flask("host")
    with pytest.raises(ConfigError, match="register_optimized_endpoints"):
        fast_lane(app, guard=lambda *_: None, settings=Settings())
    register_optimized_endpoints(app, SETTINGS)
    with lane_of(app, guard=lambda *_: HttpResponse(401, [], b"no")) as lane:
        register_optimized_endpoints(app, SETTINGS, url_prefix="/later")
        lane.gate.guard_views()  # as serving begins
        assert by_flask(app, "GET", "/later/api/optimized/stats") == 401


def test_the_applications_own_configuration_can_close_the_lane() -> None:
    app = create_app(Settings())
    app.config["NIGHTSCAN_FAST_LANE"] = "off"
    lane = fast_lane(app)
    assert not lane.gate.is_open
    lane.close()


def test_a_guard_that_passes_lets_the_engine_answer() -> None:
    assert refused("anybody").status == 503


def test_a_guard_is_asked_before_a_byte_of_the_body_is_read() -> None:
    asked: list[str] = []

    def refuse(method: str, *_: Any) -> Any:
        asked.append(method)
        return HttpResponse(403, [], b"no")

    with lane_of(host_app(), guard=refuse) as lane, serve(lane) as address:
        response = fetch(address, "POST", "/api/optimized/predict", b"", Content_Length="1000", Expect="100-continue")
    assert (response.status, asked) == (403, ["POST"])
