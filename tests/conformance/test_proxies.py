"""The published proxies in front: a site that strips /api, one that does not, a gateway that strips the whole path."""

from __future__ import annotations

import functools
import http.server
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from engine.config import Settings
from tests.conformance import sounds
from tests.conformance.conftest import Served
from tests.conformance.nginx import SITES, Site, free_port, nginx, running_nginx
from tests.conformance.wire import Address, head, multipart

OPTIMIZED = "/api/optimized/predict"


@pytest.fixture(params=["site-keeps-api.conf", "site-strips-api.conf"])
def front(request: pytest.FixtureRequest, served: Served, runtime_dir: Path) -> Iterator[Address]:
    with nginx(runtime_dir, request.param, served.address) as address:
        yield address


def test_predictions_and_probes_through_both_sites(front: Address) -> None:
    assert front.upload("/api/predict", sounds.ONE_SECOND).value[0]["segment"] == "night.wav"
    assert front.upload("/api/predict/predict", sounds.ONE_SECOND).status in (200, 404)
    assert front.upload(OPTIMIZED, sounds.ONE_SECOND).status == 200
    assert front.get("/api/health").value["status"] == "healthy"
    assert front.get("/api/ready").value["status"] == "ready"
    assert front.get("/api/optimized/health").status == 200


HIDDEN = (
    *("/metrics", "/api/metrics", "/api/optimized/stats", "/api/api/metrics", "/api//metrics", "/api/metrics/"),
    *("/api/%6detrics", "/api/x/../metrics?a=b", "/stats"),
)


@pytest.mark.parametrize("path", HIDDEN)
def test_metrics_and_statistics_are_nobodys_outside(front: Address, path: str) -> None:
    assert front.get(path).pair == (404, {"error": "Not found"})


def test_refusals_pass_unchanged(front: Address) -> None:
    assert front.upload("/api/predict", b"x", "x.mp3").pair == (400, {"error": "WAV file required"})
    answer = front.upload(OPTIMIZED, b"x")
    assert answer.status == 415 and answer.headers["x-request-id"] == answer.value["request_id"]


def test_the_callers_request_id_and_timing_pass(front: Address) -> None:
    answer = front.post(OPTIMIZED, sounds.ONE_SECOND, "audio/wav", X_Request_ID="through-nginx")
    assert answer.headers["x-request-id"] == "through-nginx" and "total;dur=" in answer.headers["server-timing"]


def test_connections_behind_the_proxy_are_used_again(front: Address) -> None:
    with requests.Session() as session:
        for _ in range(20):
            files = {"file": ("night.wav", sounds.ONE_SECOND)}
            assert session.post(f"{front.url}/api/predict", files=files, timeout=30).status_code == 200


def test_a_recording_of_megabytes(front: Address) -> None:
    content = sounds.wav(sounds.tone(120, rate_hz=44100), rate_hz=44100)
    assert len(front.upload(OPTIMIZED, content).value["segments"]) == 120


def test_an_ordinary_upload_touches_no_file_of_nginx(served: Served, runtime_dir: Path) -> None:
    ordinary = sounds.wav(sounds.tone(60, rate_hz=48_000), rate_hz=48_000)
    with running_nginx(runtime_dir, Site("site-keeps-api.conf"), served.address) as proxy:
        assert proxy.address.upload(OPTIMIZED, ordinary).status == 200
        assert "temporary file" not in proxy.errors
        proxy.address.upload(OPTIMIZED, ordinary * 2)
        assert "request body is buffered to a temporary file" in proxy.errors


def test_a_client_above_its_rate_is_told_so_in_json(served: Served, runtime_dir: Path) -> None:
    site = Site("site-keeps-api.conf", clients_rate="1r/m")  # and 200 at once
    with running_nginx(runtime_dir, site, served.address) as proxy, requests.Session() as session:
        answers = [session.get(f"{proxy.address.url}/api/ready", timeout=30) for _ in range(210)]
    assert [each.status_code for each in answers[:200]] == [200] * 200
    refused = [each for each in answers[201:] if each.status_code == 429]
    assert len(refused) == 9 and {each.json()["code"] for each in refused} == {"RATE_LIMITED"}
    assert {each.headers["Retry-After"] for each in refused} == {"1"}


def test_no_frontend_is_said_in_json(runtime_dir: Path) -> None:
    with nginx(runtime_dir, "site-keeps-api.conf", Address(free_port())) as front:
        answer = front.upload(OPTIMIZED, sounds.ONE_SECOND)
        assert answer.status == 503 and answer.value["code"] == "NOT_READY" and answer.headers["retry-after"] == "1"


def test_the_page_is_under_a_prefix_and_behind_a_password(runtime_dir: Path) -> None:
    with served_files(runtime_dir) as page, running_nginx(
        runtime_dir, Site("site-strips-api.conf", page_port=page.port), Address(free_port())
    ) as proxy:
        assert "successful" in proxy.test_configuration()
        redirected = requests.get(f"{proxy.address.url}/nightscan", allow_redirects=False, timeout=10)
        assert redirected.headers["Location"] == "/nightscan/"
        with requests.Session() as session:
            session.auth = ("owl", "hoot")
            url = f"{proxy.address.url}/nightscan/page.txt"
            assert session.get(url, timeout=10).status_code == 403, "without a file of passwords it is nobody's"
            crypted = subprocess.run(["openssl", "passwd", "-apr1", "hoot"], capture_output=True, text=True, check=True)
            (runtime_dir / "passwords").write_text(f"owl:{crypted.stdout}")
            assert requests.get(url, timeout=10).status_code == 401
            assert session.get(url, timeout=10).text == "the page"
            assert session.post(url, timeout=10).status_code == 403


@pytest.mark.parametrize("site", SITES)
def test_what_is_a_byte_too_long_is_refused_in_our_words(served: Served, runtime_dir: Path, site: str) -> None:
    """By the frontend, which says so of all that nginx lets pass, and beyond that by nginx."""
    original = "/predictions" if site == "site-strips-path.conf" else "/api/predict"
    most = Settings().max_upload_bytes
    with running_nginx(runtime_dir, Site(site), served.address) as proxy:
        assert "successful" in proxy.test_configuration()
        refused = proxy.address.post(original, bytes(most + 1), "audio/wav")
        assert refused.pair == (400, {"error": "File exceeds 100 MB limit"}) and "x-request-id" in refused.headers
        by_nginx = proxy.address.send(head("POST", original, {"Content-Length": str(2 * most)}))
        assert by_nginx.pair == refused.pair and "x-request-id" not in by_nginx.headers
        if original == "/api/predict":
            ours = proxy.address.post(OPTIMIZED, bytes(most + 1), "audio/wav")
            theirs = proxy.address.send(head("POST", OPTIMIZED, {"Content-Length": str(2 * most)}))
            assert ours.status == theirs.status == 413 and ours.value["code"] == theirs.value["code"] == "TOO_LARGE"
            assert ours.value["error"] == theirs.value["error"] and ours.value.keys() == theirs.value.keys()


@contextmanager
def served_files(folder: Path) -> Iterator[Address]:
    """Something that listens where the page's server would."""
    (folder / "page.txt").write_text("the page")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Address(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


def test_a_gateway_that_strips_the_whole_path(served: Served, runtime_dir: Path) -> None:
    with nginx(runtime_dir, "site-strips-path.conf", served.address) as front:
        body, kind = multipart(sounds.ONE_SECOND, "night.wav", "audio/wav")
        answer = front.post("/predictions", body, kind, Authorization="Bearer token")
        assert answer.status == 200 and answer.value[0]["segment"] == "night.wav"
