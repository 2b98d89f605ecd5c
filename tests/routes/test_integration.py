"""In somebody else's application: what is registered, what is replaced, what is refused. No engine runs here."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Mapping
from typing import Any

import flask
import flask.views
import pytest

from engine.config import Settings
from engine.errors import ConfigError
from frontend.server.message import HttpResponse
from frontend.wsgi.integration import (
    enhance_existing_api_server,
    optimized_prediction_endpoint,
    register_optimized_endpoints,
)

OFF = Settings(enabled=False)  # nothing is attached: the wrapped view answers
RAW = b"RIFF....WAVE"


def upload() -> dict[str, Any]:
    return {"file": (io.BytesIO(RAW), "night.wav", "audio/wav"), "note": "heard at dusk"}


def login_required(view: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(view)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if "Authorization" not in flask.request.headers:
            return {"error": "login"}, 401
        return view(*args, **kwargs)

    return checked


def careless_decorator(view: Callable[..., Any]) -> Callable[..., Any]:
    def predict(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return predict


def original_view() -> Any:
    file = flask.request.files["file"]
    return flask.jsonify([{"segment": file.filename, "bytes": len(file.read()), "note": flask.request.form["note"]}])


def host_with(view: Callable[..., Any]) -> flask.Flask:
    app = flask.Flask("host")
    app.add_url_rule("/api/predict", endpoint="predict", view_func=view, methods=["POST"])
    return app


def added_to(app: flask.Flask) -> set[str]:
    return {rule.rule for rule in app.url_map.iter_rules()} - {"/api/predict", "/static/<path:filename>"}


def test_the_wrapped_view_answers_with_its_body_and_form_intact() -> None:
    app = host_with(original_view)
    enhance_existing_api_server(app, settings=OFF)
    response = app.test_client().post("/api/predict", data=upload())
    assert response.json == [{"segment": "night.wav", "bytes": len(RAW), "note": "heard at dusk"}]
    assert response.headers["X-Served-By"] == "original" and response.headers["X-Request-ID"]


def test_a_check_of_the_host_may_read_the_form_first() -> None:
    app = host_with(original_view)
    app.before_request(lambda: None if flask.request.form["note"] else ("no note", 403))
    enhance_existing_api_server(app, settings=OFF)
    assert app.test_client().post("/api/predict", data=upload()).status_code == 200


def test_a_view_that_aborts_is_answered_by_the_hosts_own_handlers() -> None:
    app = host_with(lambda: flask.abort(418))
    app.register_error_handler(418, lambda error: ("short and stout", 418))
    enhance_existing_api_server(app, settings=OFF)
    response = app.test_client().post("/api/predict", data=upload())
    assert (response.status_code, response.text) == (418, "short and stout")


def test_without_fallback_it_is_503() -> None:
    app = flask.Flask("host")
    app.post("/api/predict")(optimized_prediction_endpoint(fallback_to_original=False, settings=OFF)(original_view))
    assert app.test_client().post("/api/predict", data=upload()).status_code == 503


@pytest.mark.parametrize("decorator", [login_required, careless_decorator])
def test_a_decorated_view_is_refused_and_the_way_out_is_shown(decorator: Callable[..., Any]) -> None:
    app = host_with(decorator(original_view))
    with pytest.raises(ConfigError) as caught:
        enhance_existing_api_server(app, settings=OFF)
    assert "@optimized_prediction_endpoint" in str(caught.value) and "trust_view=True" in str(caught.value)
    assert app.test_client().post("/api/predict", data=upload()).headers.get("X-Served-By") is None


def test_other_views_that_may_hide_a_check_are_refused() -> None:
    class Prediction(flask.views.MethodView):
        decorators = [login_required]

        def post(self) -> Any:
            return original_view()

    for view in (Prediction.as_view("predict"), functools.partial(login_required(original_view))):
        with pytest.raises(ConfigError):
            enhance_existing_api_server(host_with(view), settings=OFF)


def test_a_plain_view_of_an_application_factory_is_taken() -> None:
    helper = original_view

    def predict() -> Any:
        return helper()

    enhance_existing_api_server(host_with(predict), settings=OFF)


def test_a_decorated_view_is_taken_at_its_owners_word() -> None:
    app = host_with(login_required(original_view))
    enhance_existing_api_server(app, trust_view=True, settings=OFF)
    assert app.test_client().post("/api/predict", data=upload()).status_code == 401, "it is the fallback, as it was"


def test_a_guard_refuses_before_the_body_is_read() -> None:
    seen: list[tuple[str, str, str]] = []

    def guard(method: str, path: str, headers: Mapping[str, str], address: str) -> HttpResponse | None:
        seen.append((method, path, address))
        return None if "authorization" in headers else HttpResponse(401, [], b"login")

    app = host_with(login_required(original_view))
    enhance_existing_api_server(app, guard=guard, settings=OFF)
    client = app.test_client()
    refused = client.post("/api/predict", data=upload())
    assert (refused.status_code, refused.data) == (401, b"login")
    assert client.post("/api/predict", data=upload(), headers={"Authorization": "x"}).status_code == 200
    assert seen == [("POST", "/api/predict", "127.0.0.1")] * 2


def test_decorators_outside_go_on_checking() -> None:
    app = host_with(login_required(optimized_prediction_endpoint(settings=OFF)(original_view)))
    client = app.test_client()
    assert client.post("/api/predict", data=upload()).status_code == 401
    assert client.post("/api/predict", data=upload(), headers={"Authorization": "x"}).status_code == 200


def test_without_a_view_there_is_nothing_to_enhance() -> None:
    with pytest.raises(ConfigError, match="no view for POST /api/predict.*it has no view for any POST"):
        enhance_existing_api_server(flask.Flask("host"), settings=OFF)
    with pytest.raises(ConfigError, match="/api/v2/predict.*POST /api/predict"):
        enhance_existing_api_server(host_with(original_view), settings=OFF, path="/api/v2/predict")


def test_registering_adds_the_optimized_routes_and_no_other() -> None:
    app = host_with(original_view)
    register_optimized_endpoints(app, settings=OFF)
    assert added_to(app) == {"/api/optimized/predict", "/api/optimized/health", "/api/optimized/stats"}
    client = app.test_client()
    assert client.get("/api/optimized/health").status_code == 503
    refused = client.post("/api/optimized/predict", data=upload())
    assert refused.status_code == 503 and b"Optimized serving not available" in refused.data


def test_a_body_beyond_the_limit_is_drained_and_refused() -> None:
    app = flask.Flask("host")
    register_optimized_endpoints(app, settings=Settings(enabled=False, max_upload_bytes=100_000))
    stream = io.BytesIO(bytes(300_000))
    response = app.test_client().post("/api/optimized/predict", input_stream=stream, content_type="audio/wav")
    assert response.status_code in (400, 413)
    declared = app.test_client().post("/api/optimized/predict", data=bytes(300_000), content_type="audio/wav")
    assert declared.status_code == 413 and b"TOO_LARGE" in declared.data
