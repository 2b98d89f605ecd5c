"""Debian's Prometheus on a free port, in a folder of its own: it scrapes what it is told to, and is gone at the end."""

from __future__ import annotations

import json
import subprocess
import tempfile
import urllib.parse
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.http import ConnectionEnded, fetch
from tests.support.server import free_port
from tests.support.wait import wait_for

DEPLOY = Path(__file__).resolve().parents[2] / "frontend" / "deploy"
RULES = DEPLOY / "alert-rules.yml"
_CONFIGURATION = """
global: {{scrape_interval: 500ms, scrape_timeout: 400ms, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: nightscan
    static_configs:
      - targets: [{targets}]
        labels: {{machine: night1}}
"""


class PrometheusProcess:
    """A context manager: inside, all targets have been scraped."""

    def __init__(self, *targets: str) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ns-")
        self._targets = targets
        self.address = ("127.0.0.1", free_port())
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> PrometheusProcess:
        folder = Path(self._folder.name)
        configuration, log = folder / "prometheus.yml", folder / "log"
        targets = ", ".join(f'"{target}"' for target in self._targets)
        configuration.write_text(_CONFIGURATION.format(rules=RULES, targets=targets))
        host, port = self.address
        command = [
            "prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address={host}:{port}", "--storage.tsdb.retention.size=64MB", "--log.level=warn",
        ]  # fmt: skip
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output, cwd=folder)
        try:
            wait_for(self._has_scraped, f"all targets to be scraped ({log})", timeout_s=60)
        except BaseException:
            print(log.read_text())
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The series that a query returns now; AssertionError for one that is none."""
        value = self._get(f"/api/v1/query?{urllib.parse.urlencode({'query': query})}")
        found: list[dict[str, Any]] = value["data"]["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """The rules that are loaded, and how they are."""
        return [rule for group in self._get("/api/v1/rules")["data"]["groups"] for rule in group["rules"]]

    def _has_scraped(self) -> bool:
        try:
            up = self.ask("up == 1 and on (instance) nightscan_engine_supervisor_up")
        except (OSError, ConnectionEnded):
            return False
        return len(up) == len(self._targets)

    def _get(self, path: str) -> dict[str, Any]:
        response = fetch(self.address, "GET", path)
        if response.status == 503:  # it starts
            raise OSError("not ready")
        value: dict[str, Any] = json.loads(response.body)
        assert response.status == 200 and value["status"] == "success", value
        return value

    def _end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
        self._folder.cleanup()
