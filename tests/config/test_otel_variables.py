"""Variables of OpenTelemetry, which somebody has set for everything that runs on a machine."""

from __future__ import annotations

import pytest

from engine.config import ineffective_settings, load_settings, without_secrets
from tests.config.published import PREFIX

BARE = "OTEL_EXPORTER_OTLP_ENDPOINT"
COLLECTOR = "http://me:secret@collector:4318"


def test_what_is_not_done_is_said_in_one_line_without_values() -> None:
    others = {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_TRACES_SAMPLER": "always_on", "OTEL_SERVICE_NAME": "owls"}
    settings = load_settings({BARE: COLLECTOR, **others})
    assert settings.otel_endpoint == COLLECTOR
    (line,) = ineffective_settings(settings)
    assert line.startswith("OTEL_EXPORTER_OTLP_PROTOCOL, OTEL_TRACES_SAMPLER (environment): ignored") and "HTTP" in line
    assert "secret" not in line and "always_on" not in line


def test_what_is_done_anyway_is_not_worth_a_line() -> None:
    same = {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf", "OTEL_TRACES_EXPORTER": "otlp"}
    heeded = {"OTEL_RESOURCE_ATTRIBUTES": "service.name=owls", "OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret"}
    assert ineffective_settings(load_settings({BARE: COLLECTOR, **same, **heeded})) == []
    assert ineffective_settings(load_settings({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})) == []  # no trace is sent


def test_an_endpoint_of_traces_alone_is_not_taken_silently_for_nothing() -> None:
    settings = load_settings({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://me:secret@collector:4318/v1/traces"})
    (line,) = ineffective_settings(settings)
    assert settings.otel_endpoint == "" and "otel_endpoint" in line and "secret" not in line


@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "True"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_who_wants_no_traces_gets_none_unless_it_is_our_own_setting(off: dict[str, str]) -> None:
    settings = load_settings({BARE: COLLECTOR, **off})
    (line,) = ineffective_settings(settings)
    assert settings.otel_endpoint == "" and BARE in line and "secret" not in line
    ours = load_settings({f"{PREFIX}OTEL_ENDPOINT": COLLECTOR, **off})
    assert ours.otel_endpoint == COLLECTOR and len(ineffective_settings(ours)) == 1


def test_a_model_does_not_get_the_keys_of_the_collector() -> None:
    environment = {BARE: COLLECTOR, "OTEL_EXPORTER_OTLP_HEADERS": "api-key=secret", "OTEL_SERVICE_NAME": "owls"}
    assert "secret" not in str(without_secrets(environment)) and "OTEL_SERVICE_NAME" in without_secrets(environment)
