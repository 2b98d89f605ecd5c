"""What can be looked at over HTTP, and what only with the token."""

from __future__ import annotations

import json
import stat

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.status.asking import Asking
from tests.supervisor.engine_process import EngineProcess, ask, wait_serving
from tests.support.wait import wait_for

DEPLOYMENT = "wildlife_detector_optimized"


def test_status_says_what_the_control_socket_says_and_counts(engine: EngineProcess, asking: Asking) -> None:
    with engine.client() as client:
        wait_serving(client)
        before = asking.get("/status").json["figures"][DEPLOYMENT]["succeeded"]
        for _ in range(3):
            ask(client)
        told = client.request("status", timeout_s=20)
        found = asking.get("/status", asking.bearer).json
        figures = found["figures"][DEPLOYMENT]
        assert figures["succeeded"] == before + 3  # at once, not with the next snapshot
        assert sum(figures["latency_buckets"]["counts"]) == figures["succeeded"]
        assert len(figures["latency_buckets"]["counts"]) == len(figures["latency_buckets"]["bounds_s"]) + 1
        assert [each["seat"] for each in figures["instances"]] == [0, 1]
        assert found["supervisor"]["pid"] == told["supervisor"]["pid"]
        assert 0 <= found["age_s"] < 3 and found["at"].endswith("Z")
        versions = found["deployments"][0]["versions"]
        assert versions[0]["spec"] == told["deployments"][0]["versions"][0]["spec"]


def test_without_the_token_nothing_of_what_was_deployed_is_seen(asking: Asking) -> None:
    location = asking.get("/status", asking.bearer).json["deployments"][0]["versions"][0]["spec"]["location"]
    assert location == "behaviour:echo"
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": asking.token}):
        said = asking.get("/status", headers)
        assert said.json["deployments"][0]["versions"][0]["spec"] == {"source": "factory"}
        assert location.encode() not in said.body and asking.token.encode() not in said.body


def test_metrics_are_what_prometheus_reads(asking: Asking) -> None:
    said = asking.get("/metrics")
    assert said.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    names = {family.name for family in text_string_to_metric_families(said.body.decode())}
    assert {"nightscan_predictions", "nightscan_engine_slots"} <= names


def test_health_is_the_loop_s_alone(asking: Asking) -> None:
    said = asking.get("/healthz")
    assert (said.status, said.json["status"]) == (200, "ok")
    assert said.json["deployments"] == {DEPLOYMENT: "ready"}


def test_the_page_may_load_nothing_from_elsewhere(asking: Asking) -> None:
    said = asking.get("/")
    assert said.status == 200
    assert said.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    assert "unsafe" not in said.headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/", "/status", "/metrics", "/healthz", "/requests"])
def test_head_is_get_without_the_body(asking: Asking, path: str) -> None:
    said = asking.ask("HEAD", path, headers=asking.bearer)
    assert (said.status, said.body) == (200, b"")
    assert int(said.headers["Content-Length"]) > 0


def test_requests_need_the_token(asking: Asking) -> None:
    assert asking.get("/requests").status == 401
    assert set(asking.get("/requests", asking.bearer).json) == {"last", "slowest", "errors"}


def test_files_of_the_status_server_are_the_user_s_alone_and_come_back(asking: Asking) -> None:
    before = asking.token
    for name in ("status.sock", "admin.token"):
        path = asking.runtime_dir / name
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        path.unlink()
        wait_for(path.exists, f"{name} to be put back")
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert asking.token == before
    assert asking.get("/healthz").status == 200


def test_answers_are_json_of_one_line(asking: Asking) -> None:
    for path in ("/status", "/healthz", "/nothing"):
        assert json.loads(asking.get(path).body.decode("ascii"))
