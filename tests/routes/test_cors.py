"""Cross-origin headers: none unless configured, one origin at a time."""

from __future__ import annotations

import pytest

from engine.config import Settings, cors_headers
from frontend.predict.cors import Cors

APP = "https://app.example"


def test_without_origins_there_are_no_headers() -> None:
    assert Cors().headers({"origin": APP}) == []
    assert Cors().preflight({"origin": APP}) == []


def test_an_allowed_origin_is_echoed() -> None:
    headers = dict(Cors((APP, "https://b.example")).headers({"origin": APP}))
    assert headers["Access-Control-Allow-Origin"] == APP and headers["Vary"] == "Origin"


def test_another_origin_gets_only_vary() -> None:
    assert Cors((APP,)).headers({"origin": "https://evil.example"}) == [("Vary", "Origin")]
    assert Cors((APP,)).preflight({"origin": "https://evil.example"}) == [("Vary", "Origin")]


def test_any_origin() -> None:
    assert dict(Cors(("*",)).headers({"origin": APP}))["Access-Control-Allow-Origin"] == "*"


def test_a_preflight_allows_the_upload_and_its_headers() -> None:
    headers = dict(Cors((APP,), cors_headers(Settings())).preflight({"origin": APP}))
    assert "POST" in headers["Access-Control-Allow-Methods"]
    allowed = headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"authorization", "content-type", "x-request-id", "x-request-timeout-ms"} <= set(allowed)


def test_the_headers_that_upload_widgets_send_by_themselves_are_allowed() -> None:
    headers = dict(Cors((APP,), cors_headers(Settings())).preflight({"origin": APP}))
    allowed = headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert {"cache-control", "x-requested-with", "content-encoding"} <= set(allowed)


@pytest.mark.parametrize(
    ("given", "allowed"),
    [("X-My-Key", "X-My-Key"), ("A,b-c ,  D", "A, b-c, D"), ("*", "*, Authorization"), ("", None)],
)
def test_an_operator_names_the_headers_of_their_own_pages(given: str, allowed: str | None) -> None:
    headers = dict(Cors((APP,), cors_headers(Settings(api_cors_headers=given))).preflight({"origin": APP}))
    assert headers.get("Access-Control-Allow-Headers") == allowed
