"""Prometheus scrapes a frontend and the status server; the dashboard shows what they say, and no alert fires."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from engine.observe.exported import BY_NAME
from tests.browser.watched_engine import WatchedEngine
from tests.monitoring.prometheus_process import DEPLOY, PrometheusProcess
from tests.support.wait import wait_for

DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
CORE_PANELS = {"timeseries", "stat"}
WINDOW = "20s"  # in place of what Grafana makes of the time that is looked at


@pytest.fixture(scope="module")
def engine() -> Iterator[WatchedEngine]:
    with WatchedEngine(cache_l1_mb=4) as engine:
        yield engine


@pytest.fixture(scope="module")
def prometheus(engine: WatchedEngine) -> Iterator[PrometheusProcess]:
    targets = (f"127.0.0.1:{engine.server.port}", f"127.0.0.1:{engine.status_port}")
    with PrometheusProcess(*targets) as prometheus:
        yield prometheus


@pytest.mark.parametrize("of", ["a frontend", "the status server"])
def test_promtool_finds_nothing_wrong_with_the_text(engine: WatchedEngine, of: str) -> None:
    assert engine.predict() == 200
    port = engine.server.port if of == "a frontend" else engine.status_port
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as response:
        text: bytes = response.read()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    for name in BY_NAME:
        assert f"# TYPE {name} ".encode() in text or f"# TYPE {name.removesuffix('_total')} ".encode() in text


def test_every_query_of_the_dashboard_returns_a_series(engine: WatchedEngine, prometheus: PrometheusProcess) -> None:
    with engine.loaded():
        for query in QUERIES:
            asked = query.replace("$__rate_interval", WINDOW)
            wait_for(lambda: prometheus.ask(asked), f"a series of {query}", timeout_s=20)


def test_scraping_all_of_them_doubles_nothing(engine: WatchedEngine, prometheus: PrometheusProcess) -> None:
    once = "sum(max without (instance, job) (nightscan_http_requests_total{endpoint='optimized'}))"
    each = "sum by (instance) (nightscan_http_requests_total{endpoint='optimized'})"

    def is_settled() -> bool:
        seen = [series["value"][1] for series in (*prometheus.ask(once), *prometheus.ask(each))]
        return len(seen) == 3 and len(set(seen)) == 1 and float(seen[0]) > 0

    wait_for(is_settled, "both targets to say the same, which is also the sum", timeout_s=20)
    rules = prometheus.rules()
    assert len(rules) == 14 and {rule["health"] for rule in rules} <= {"ok", "unknown"}
    assert not [rule["name"] for rule in rules if rule["state"] == "firing"]


def test_the_dashboard_asks_for_its_data_source_and_needs_no_plugin() -> None:
    assert [each["type"] for each in DASHBOARD["__inputs"]] == ["datasource"]
    assert {panel["type"] for panel in DASHBOARD["panels"]} == CORE_PANELS
    sources = {target["datasource"]["uid"] for panel in DASHBOARD["panels"] for target in panel["targets"]}
    assert sources == {"${DS_PROMETHEUS}"}
