"""Every program that calls the original API, with the bytes it sends, reading what it reads."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import requests

from tests.conformance import sounds
from tests.conformance.conftest import Served
from tests.conformance.wire import head, multipart


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "night.wav"
    path.write_bytes(sounds.ONE_SECOND)
    return path


def test_the_wordpress_plug_in(served: Served) -> None:
    """Raw body with Content-Length; needs exactly 200 and prints the body."""
    fields = {
        "User-Agent": "WordPress/6.5; https://example.org",
        "Accept": "*/*",
        "Accept-Encoding": "deflate, gzip",
        "Content-Type": "audio/wav",
        "Content-Length": str(len(sounds.ONE_SECOND)),
        "Connection": "close",
    }
    answer = served.address.send(head("POST", "/api/predict", fields), sounds.ONE_SECOND)
    assert answer.status == 200
    assert answer.value[0]["predictions"]


@pytest.mark.parametrize("path", ["/api/predict", "/predict", "/api/predict/predict"])
def test_the_celery_task(served: Served, path: str) -> None:
    """`requests` multipart with a part type; joins `<base>/predict` and reads the whole JSON."""
    files = {"file": ("night.wav", sounds.ONE_SECOND, "audio/wav")}
    response = requests.post(served.address.url + path, files=files, timeout=30)
    assert response.status_code == 200
    assert response.json()[0]["segment"] == "night.wav"


def test_the_raspberry_pi(served: Served, recording: Path) -> None:
    """`requests` multipart without a part type, with a token; deletes the recording when the status is good."""
    with recording.open("rb") as file:
        response = requests.post(
            f"{served.address.url}/api/predict",
            files={"file": (recording.name, file)},
            headers={"Authorization": "Bearer token"},
            timeout=60,
        )
    assert response.ok


def test_the_raspberry_pi_keeps_what_was_not_understood(served: Served) -> None:
    files = {"file": ("night.wav", sounds.png())}
    assert not requests.post(f"{served.address.url}/api/predict", files=files, timeout=60).ok


def test_curl(served: Served, recording: Path) -> None:
    """The real curl; by default it sends `application/octet-stream` or what it thinks of the name."""
    curl = shutil.which("curl")
    assert curl
    for part in (f"file=@{recording}", f"file=@{recording};type=application/octet-stream"):
        command = [curl, "-sS", "--fail", "-F", part, f"{served.address.url}/api/predict"]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)[0]["segment"] == "night.wav"


def test_curl_with_a_large_recording_waits_for_the_go_ahead(served: Served, tmp_path: Path) -> None:
    """Over a megabyte curl sends `Expect: 100-continue` first."""
    path = tmp_path / "long.wav"
    path.write_bytes(sounds.wav(sounds.tone(90)))
    command = ["curl", "-sS", "--fail", "-F", f"file=@{path}", f"{served.address.url}/api/optimized/predict"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["segments"]) == 90


def test_the_mobile_app(served: Served) -> None:
    """Multipart through a gateway with a token; reads `.error` and `.confidence`."""
    body, content_type = multipart(sounds.ONE_SECOND, "recording.wav", "audio/wav")
    answer = served.address.post("/api/optimized/predict", body, content_type, Authorization="Bearer token")
    assert answer.value["confidence"] > 0
    refused = served.address.upload("/api/predict", b"nothing", "recording.wav")
    assert refused.value["error"] == "Invalid WAV file"


def test_the_javascript_example(served: Served) -> None:
    """A browser's form data: quoted boundary, CRLF, an `Origin`."""
    boundary = "----WebKitFormBoundaryq1w2e3r4"
    body, _ = multipart(sounds.ONE_SECOND, "blob.wav", "audio/wav")
    body = body.replace(b"----------------------------8f3a1b7c2d", boundary.encode())
    content_type = f"multipart/form-data; boundary={boundary}"
    answer = served.address.post("/api/predict", body, content_type, Origin="https://app.example")
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://app.example"


def test_a_browser_asks_first(served: Served) -> None:
    fields = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    answer = served.address.send(head("OPTIONS", "/api/predict", fields))
    assert answer.status in (200, 204)
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "POST" in answer.headers["access-control-allow-methods"]
    stranger = served.address.send(head("OPTIONS", "/api/predict", {**fields, "Origin": "https://evil.example"}))
    assert "access-control-allow-origin" not in stranger.headers


def test_one_connection_for_many_requests(served: Served) -> None:
    with requests.Session() as session:
        for _ in range(5):
            files = {"file": ("night.wav", sounds.ONE_SECOND)}
            assert session.post(f"{served.address.url}/predict", files=files, timeout=30).status_code == 200
