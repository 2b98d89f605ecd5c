"""The host's own view behind the engine: what it returns, raises and leaves is the host's. No engine runs here."""

from __future__ import annotations

import gc
import io
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
from werkzeug.exceptions import Forbidden

from engine.config import Settings
from frontend.wsgi.integration import enhance_existing_api_server, optimized_prediction_endpoint
from tests.routes.test_integration import OFF, RAW, host_with, original_view, upload


class Unplugged(Exception):
    """An error of the host's own."""


def fails_with(error: Exception) -> Callable[[], Any]:
    def predict() -> Any:
        raise error

    return predict


def enhanced(view: Callable[..., Any]) -> flask.Flask:
    app = host_with(view)
    enhance_existing_api_server(app, trust_view=True, settings=OFF)
    return app


def post(app: flask.Flask, **headers: str) -> Any:
    return app.test_client().post("/api/predict", data=upload(), headers=headers)


@pytest.mark.parametrize(
    "error, status, text",
    [
        (Unplugged("microphone"), 502, "unplugged: microphone"),  # a handler for its own kind
        (ValueError("a bug"), 500, "sorry"),  # the handler of all that is unexpected
        (Forbidden(), 403, "go away"),
    ],
)
def test_an_error_of_the_view_reaches_the_hosts_own_handlers(error: Exception, status: int, text: str) -> None:
    app = enhanced(fails_with(error))
    app.register_error_handler(Unplugged, lambda error: (f"unplugged: {error}", 502))
    app.register_error_handler(500, lambda error: ("sorry", 500))
    app.register_error_handler(403, lambda error: ("go away", 403))
    response = post(app, X_Request_ID="r-1")
    assert (response.status_code, response.text) == (status, text)
    assert response.headers.getlist("X-Served-By") == ["original"] and response.headers["X-Request-ID"] == "r-1"


def test_an_unexpected_error_of_the_view_sends_the_exception_signal_and_runs_teardown() -> None:
    error = ValueError("a bug")
    app = enhanced(fails_with(error))
    seen: list[Any] = []
    app.teardown_request(lambda error: seen.append(("teardown", error)))

    def record(sender: Any, exception: BaseException, **_: Any) -> None:
        seen.append(("signal", exception))

    with flask.got_request_exception.connected_to(record, app):
        response = post(app)
    assert response.status_code == 500 and "Traceback" not in response.text
    assert seen == [("signal", error), ("teardown", error)]


def test_an_error_of_the_view_is_raised_in_the_hosts_tests() -> None:
    app = enhanced(fails_with(Unplugged("microphone")))
    app.testing = True
    with pytest.raises(Unplugged, match="microphone"):
        post(app)


def test_an_error_of_a_view_under_other_decorators_reaches_the_handlers_too() -> None:
    app = host_with(optimized_prediction_endpoint(settings=OFF)(fails_with(Unplugged())))
    app.register_error_handler(Unplugged, lambda error: ("unplugged", 502))
    assert post(app).status_code == 502


def test_a_failed_request_is_freed_without_a_collection() -> None:
    class Held(Exception):
        """Refers to nothing that outlives it."""

    held: list[weakref.ref[Held]] = []

    def predict() -> Any:
        error = Held()
        held.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error  # else this frame and the error would hold each other

    app = enhanced(predict)
    app.register_error_handler(Held, lambda error: ("held", 500))
    gc.disable()
    try:
        assert post(app).text == "held"
        assert held[0]() is None
    finally:
        gc.enable()


def test_what_the_view_returns_is_handed_on_as_it_is() -> None:
    closed: list[str] = []

    def predict() -> Any:
        def pieces() -> Iterator[bytes]:
            yield b"a"
            yield b"b"

        response = flask.Response(pieces(), "207 Many Things", mimetype="text/x-own")
        response.set_cookie("one", "1")
        response.set_cookie("two", "2")
        response.headers["X-Request-ID"] = "the host's own"
        response.call_on_close(lambda: closed.append("closed"))
        return response

    response = post(enhanced(predict))
    assert (response.status, response.data, response.mimetype) == ("207 Many Things", b"ab", "text/x-own")
    assert len(response.headers.getlist("Set-Cookie")) == 2
    response.close()
    assert closed == ["closed"]
    assert response.headers.getlist("X-Request-ID") == ["the host's own"]


def test_a_file_that_the_view_sends_is_sent() -> None:
    assert post(enhanced(lambda: flask.send_file(io.BytesIO(RAW), "audio/wav"))).data == RAW


def test_what_outer_decorators_give_the_view_arrives() -> None:
    def with_user(view: Callable[..., Any]) -> Callable[..., Any]:
        def checked(*args: Any, **kwargs: Any) -> Any:
            return view(*args, user="ada", **kwargs)

        return checked

    def predict(device: str, user: str) -> Any:
        return [device, user, flask.request.files["file"].filename]

    app = flask.Flask("host")
    app.post("/devices/<device>/predict")(with_user(optimized_prediction_endpoint(settings=OFF)(predict)))
    assert app.test_client().post("/devices/7/predict", data=upload()).json == ["7", "ada", "night.wav"]


def test_a_page_that_the_view_shows_for_other_methods_stays() -> None:
    app = flask.Flask("host")
    app.add_url_rule("/api/predict", "predict", lambda: f"form for {flask.request.method}", methods=["GET", "POST"])
    enhance_existing_api_server(app, settings=OFF)
    client = app.test_client()
    assert client.get("/api/predict").text == "form for GET" and client.head("/api/predict").status_code == 200
    assert client.post("/api/predict", data=upload()).headers["X-Served-By"] == "original"


@pytest.mark.parametrize("config", [{"NIGHTSCAN_MAX_UPLOAD_BYTES": 1024}, {"NIGHTSCAN_FALLBACK_TO_ORIGINAL": False}])
def test_a_view_is_served_by_the_settings_of_the_application_it_is_in(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSCAN_OPTIMIZED_SERVING__ENABLED", "false")
    view = optimized_prediction_endpoint()(original_view)
    plain, configured = host_with(view), host_with(view)
    configured.config.update(config)
    body = {**upload(), "file": (io.BytesIO(RAW * 1000), "night.wav", "audio/wav")}
    assert configured.test_client().post("/api/predict", data=body).status_code in (400, 503)
    assert post(plain).status_code == 200


def test_enhancing_twice_is_enhancing_once() -> None:
    calls: list[str] = []

    def predict() -> Any:
        calls.append("view")
        return []

    app = enhanced(predict)
    before = dict(app.view_functions)
    enhance_existing_api_server(app, settings=OFF)
    assert app.view_functions == before
    assert post(app).status_code == 200 and calls == ["view"]
    decorated = host_with(optimized_prediction_endpoint(settings=OFF)(predict))
    enhance_existing_api_server(decorated, settings=OFF)  # no refusal: it is answered by the engine already


def test_several_paths_are_enhanced_and_the_rest_is_left_alone() -> None:
    def name_of_file(**_: str) -> Any:
        return flask.request.files["file"].filename

    app = host_with(original_view)
    for path in ("/v1/predict", "/v2/predict", "/<site>/predict"):
        app.add_url_rule(path, path.replace("/", "_"), name_of_file, methods=["POST"])
    enhance_existing_api_server(app, settings=OFF, trust_view=True, path=["/v1/predict", "/<site>/predict"])
    client = app.test_client()
    served = {path: client.post(path, data=upload()) for path in ("/v1/predict", "/v2/predict", "/abc/predict")}
    assert [answer.text for answer in served.values()] == ["night.wav"] * 3
    assert ["X-Served-By" in answer.headers for answer in served.values()] == [True, False, True]
    assert "X-Served-By" not in post(app).headers


def test_the_settings_are_those_that_were_given() -> None:
    app = host_with(original_view)
    enhance_existing_api_server(app, settings=Settings(enabled=False, fallback_to_original=False))
    assert post(app).status_code == 503
