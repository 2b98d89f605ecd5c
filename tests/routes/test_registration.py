"""Registering on somebody's application: prefixes, blueprints, factories, twice, too late, by `app.config`."""

from __future__ import annotations

from typing import Any

import flask
import pytest

from engine.config import Settings
from engine.errors import ConfigError
from frontend.app import create_app
from frontend.lane.fast_lane import fast_lane
from frontend.wsgi.extension import EXTENSION, NightScan
from frontend.wsgi.host_settings import settings_of
from frontend.wsgi.integration import register_optimized_endpoints
from tests.routes.test_integration import OFF, added_to, host_with, original_view, upload

ROUTES = ("/api/optimized/predict", "/api/optimized/health", "/api/optimized/stats")
SWITCHED_OFF = {"NIGHTSCAN_ENABLED": False}


def under(prefix: str) -> set[str]:
    return {prefix + route for route in ROUTES}


@pytest.mark.parametrize("prefix", ["/audio", "audio", "/audio/", "/a/b.c"])
def test_a_prefix_stands_before_every_route(prefix: str) -> None:
    app = flask.Flask("host")
    register_optimized_endpoints(app, OFF, url_prefix=prefix)
    at = "/" + prefix.strip("/")
    assert added_to(app) == under(at)
    assert app.test_client().get(f"{at}/api/optimized/health").status_code == 503


def test_a_prefix_is_on_the_lane_too() -> None:
    app = flask.Flask("host")
    register_optimized_endpoints(app, Settings(), url_prefix="/audio")
    lane = fast_lane(app, enabled=True, settings=Settings())
    assert {path for _, path in lane.gate.table.routes} == under("/audio")
    lane.close()


def test_registering_twice_changes_nothing_and_another_prefix_adds() -> None:
    app = flask.Flask("host")
    for prefix in ("", "", "/audio", "audio/"):
        register_optimized_endpoints(app, OFF, url_prefix=prefix)
    assert added_to(app) == under("") | under("/audio")
    with pytest.raises(ConfigError, match="already, by other settings"):
        register_optimized_endpoints(app, Settings(enabled=False, top_k=7))


def test_our_own_application_has_the_endpoints_and_stays_sealed() -> None:
    app = create_app(Settings())
    register_optimized_endpoints(app, settings=Settings())
    lane = fast_lane(app, settings=Settings())
    assert lane.gate.is_open
    lane.close()


def test_registering_after_the_first_request_says_what_to_do() -> None:
    app = host_with(original_view)
    app.test_client().get("/")
    with pytest.raises(ConfigError, match="too late: register before 'host' is served"):
        register_optimized_endpoints(app, OFF)


def test_a_blueprint_of_the_host_checks_what_is_registered_on_it() -> None:
    blueprint = flask.Blueprint("science", __name__, url_prefix="/science")
    blueprint.before_request(lambda: None if "Authorization" in flask.request.headers else ("login", 401))
    register_optimized_endpoints(blueprint, OFF, url_prefix="/audio")
    register_optimized_endpoints(blueprint, OFF, url_prefix="/audio")
    app = flask.Flask("host")
    app.register_blueprint(blueprint)
    assert added_to(app) == under("/science/audio")
    client = app.test_client()
    path = "/science/audio/api/optimized/predict"
    assert client.post(path, data=upload()).status_code == 401
    assert client.post(path, data=upload(), headers={"Authorization": "x"}).status_code == 503


def test_a_route_on_a_host_name_of_its_own_has_no_lane() -> None:
    app = flask.Flask("host", subdomain_matching=True)
    app.config["SERVER_NAME"] = "example.test"
    blueprint = flask.Blueprint("science", __name__, subdomain="science")
    register_optimized_endpoints(blueprint, OFF)
    app.register_blueprint(blueprint)
    lane = fast_lane(app, enabled=True, settings=Settings())
    assert not lane.gate.is_open
    lane.close()


# --- the extension --------------------------------------------------------------------------------------------------


def test_one_extension_serves_several_applications_each_by_its_own_settings() -> None:
    nightscan = NightScan(url_prefix="/audio")

    @nightscan.endpoint
    def predict() -> Any:
        return ["the view"]

    def make(**config: Any) -> flask.Flask:
        app = host_with(predict)
        app.config.update(SWITCHED_OFF, **config)
        nightscan.init_app(app)
        nightscan.init_app(app)
        assert app.extensions[EXTENSION] is nightscan and added_to(app) == under("/audio")
        return app

    first, second = make(), make(NIGHTSCAN_FALLBACK_TO_ORIGINAL=False)
    assert nightscan.settings_of(first).fallback_to_original and not nightscan.settings_of(second).fallback_to_original
    assert first.test_client().post("/api/predict", data=upload()).json == ["the view"]
    assert second.test_client().post("/api/predict", data=upload()).status_code == 503


def test_an_extension_may_be_given_its_application_at_once() -> None:
    app = flask.Flask("host")
    app.config.update(SWITCHED_OFF)
    NightScan(app)
    assert added_to(app) == under("")


# --- app.config -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["NIGHTSCAN_", "NIGHTSCAN_OPTIMIZED_SERVING__"])
@pytest.mark.parametrize(
    "name, value, expected",
    [("MODEL_POOL_SIZE", 2, 2), ("MODEL_POOL_SIZE", "2", 2), ("ENABLED", "no", False), ("OVERLAP_S", 1, 1.0)],
)
def test_the_applications_configuration_goes_over_the_environment(
    prefix: str, name: str, value: Any, expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSCAN_OPTIMIZED_SERVING__MODEL_POOL_SIZE", "5")
    app = flask.Flask("host")
    app.config[prefix + name] = value
    settings = settings_of(app)
    assert getattr(settings, name.lower()) == expected
    assert settings.sources[name.lower()] == "app.config" and settings_of(app, OFF) is OFF
    assert settings.to_environment()[f"NIGHTSCAN_OPTIMIZED_SERVING__{name}"] == str(expected).lower()


@pytest.mark.parametrize(
    "key, value, told",
    [
        ("NIGHTSCAN_MODEL_POOL_SIZE", 0, r"model_pool_size=0 \(app.config\): must be a whole number from 1"),
        ("NIGHTSCAN_MODEL_POOL_SIZE", None, r"model_pool_size=None \(app.config\)"),
        ("NIGHTSCAN_MODEL_POL_SIZE", 1, "unknown setting NIGHTSCAN_MODEL_POL_SIZE .*NIGHTSCAN_MODEL_POOL_SIZE"),
        ("NIGHTSCAN_OPTIMIZED_SERVING__POOL", 1, r"unknown setting pool \(app.config\)"),
        ("NIGHTSCAN_FAST_LANE", "on", "only code opens"),
    ],
)
def test_a_wrong_configuration_is_refused_when_it_is_registered(key: str, value: Any, told: str) -> None:
    app = flask.Flask("host")
    app.config[key] = value
    with pytest.raises(ConfigError, match=told):
        register_optimized_endpoints(app)


def test_keys_of_the_hosts_own_are_left_alone() -> None:
    app = flask.Flask("host")
    app.config.update(NIGHTSCAN_SITE_TITLE="Owls", NIGHTSCAN_ADMINS=["ada"])
    assert settings_of(app).sources["top_k"] == "default"
