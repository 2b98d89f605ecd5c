"""The error table: every engine error has a row, and no row tells a client what is not for them."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from engine import errors
from frontend.errors import (
    FileNameMissing,
    InvalidContentType,
    LegacyLimits,
    RateLimited,
    WavRequired,
    legacy_error,
    optimized_error,
    row_of,
)
from frontend.predict.content_coding import UnsupportedEncoding
from frontend.server.message import HttpResponse


def all_errors(kind: type[errors.EngineError] = errors.EngineError) -> Iterator[type[errors.EngineError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from all_errors(child)


def made(kind: type[errors.EngineError], text: str = "secret /srv/model.pt") -> errors.EngineError:
    return errors.InvalidField(text, field="top_k") if kind is errors.InvalidField else kind(text)


def body(response: HttpResponse) -> dict[str, str]:
    value = json.loads(response.body)
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize("kind", sorted(set(all_errors()), key=str))
def test_every_error_has_an_answer_on_both_apis(kind: type[errors.EngineError]) -> None:
    for response in (optimized_error(made(kind), "r1"), legacy_error(made(kind))):
        assert response.status in (400, 404, 408, 413, 415, 422, 429, 431, 500, 501, 503, 504, 505)
        if response.status == 500:
            assert b"secret" not in response.body
    assert set(body(legacy_error(made(kind)))) == {"error"}
    assert {"error", "code", "request_id"} <= set(body(optimized_error(made(kind), "r1")))


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (errors.NoFile(), 400, "No file uploaded"),
        (WavRequired(), 400, "WAV file required"),
        (FileNameMissing(), 400, "No file uploaded: the part 'file' has no file name"),
        (UnsupportedEncoding("br is not read"), 400, "br is not read"),
        (InvalidContentType(), 400, "Invalid content type"),
        (errors.BodyTooLarge(), 400, "File exceeds 100 MB limit"),
        (errors.UndecodableAudio("why"), 400, "Invalid WAV file"),
        (errors.NotAudio("why"), 400, "Invalid WAV file"),
        (errors.AudioTooLong("why"), 400, "Audio file too long (max 10 minutes)"),
        (errors.SilentAudio(), 400, "Audio file is silent"),
        (RateLimited(), 429, "Rate limit exceeded"),
        (errors.InternalError("why"), 500, "Internal server error"),
        (KeyError("why"), 500, "Internal server error"),
    ],
)
def test_the_original_texts(error: Exception, status: int, text: str) -> None:
    response = legacy_error(error)
    assert (response.status, body(response)) == (status, {"error": text})


def test_the_original_texts_name_the_limits_in_force() -> None:
    limits = LegacyLimits(limit_mb=50, limit_minutes=2.5)
    assert body(legacy_error(errors.BodyTooLarge(), limits))["error"] == "File exceeds 50 MB limit"
    assert body(legacy_error(errors.AudioTooLong(), limits))["error"] == "Audio file too long (max 2.5 minutes)"


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (errors.NoFile, 400), (errors.UndecodableAudio, 400), (errors.SilentAudio, 400), (errors.NotAudio, 415),
        (errors.BodyTooLarge, 413), (errors.AudioTooLong, 413), (errors.InvalidField, 422),
        (errors.UnknownDeployment, 404), (errors.QueueFull, 429), (errors.DeadlineExceeded, 504),
        (errors.NotReady, 503), (errors.EngineClosed, 503), (errors.DeploymentFailed, 503), (errors.ModelFailed, 500),
        (errors.ModelCrashed, 500), (errors.NonFiniteOutput, 500), (errors.BrokenError, 503), (errors.OutOfMemory, 503),
        (errors.InternalError, 500),
    ],
)  # fmt: skip
def test_the_optimized_statuses(kind: type[errors.EngineError], status: int) -> None:
    response = optimized_error(made(kind), "r1")
    assert response.status == status
    assert body(response)["code"] == kind.code and body(response)["request_id"] == "r1"


def test_an_encoding_that_is_not_read_is_415_with_those_that_are() -> None:
    response = optimized_error(UnsupportedEncoding(), "r1")
    assert response.status == 415 and dict(response.headers)["Accept-Encoding"] == "gzip, deflate"


def test_a_bad_field_is_named() -> None:
    assert body(optimized_error(errors.InvalidField("top_k is odd", field="top_k"), "r1"))["field"] == "top_k"


@pytest.mark.parametrize(("wanted_s", "header"), [(None, "1"), (0.2, "1"), (1.2, "2"), (30.0, "30")])
def test_retry_after_is_whole_seconds_rounded_up(wanted_s: float | None, header: str) -> None:
    error = errors.QueueFull(retry_after_s=wanted_s)
    for response in (optimized_error(error, "r1"), legacy_error(error)):
        assert dict(response.headers)["Retry-After"] == header


def test_only_what_may_pass_says_when_to_retry() -> None:
    assert "Retry-After" not in dict(optimized_error(errors.NoFile(), "r1").headers)
    assert row_of(errors.EngineClosed()).retry_after
