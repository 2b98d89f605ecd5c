"""Cross-origin headers: none unless configured, one origin at a time."""

from __future__ import annotations

from frontend.cors import Cors

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
    headers = dict(Cors((APP,)).preflight({"origin": APP}))
    assert "POST" in headers["Access-Control-Allow-Methods"]
    assert "Authorization" in headers["Access-Control-Allow-Headers"]
