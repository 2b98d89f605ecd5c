"""The alert rules as Prometheus's own tool reads them: each fires, and none does while all is well."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from engine.observe.exported import BY_NAME
from tests.monitoring.prometheus_process import RULES

TESTS = Path(__file__).with_name("alert-rules.test.yml")


def tool(*arguments: str, directory: Path | None = None) -> None:
    done = subprocess.run(["promtool", *arguments], cwd=directory, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_rules() -> None:
    tool("check", "rules", str(RULES))


def test_each_alert_fires_and_stays_silent(tmp_path: Path) -> None:
    for path in (RULES, TESTS):
        shutil.copy(path, tmp_path)
    tool("test", "rules", TESTS.name, directory=tmp_path)
    alerts, tested = re.findall(r"alert: (\w+)", RULES.read_text()), TESTS.read_text()
    for name in alerts:
        assert f"alertname: {name}, exp_alerts: []" in tested, "stays silent"
        assert re.search(rf"alertname: {name}\n +exp_alerts:\n +- exp_labels", tested), "fires"


def test_the_rules_ask_for_what_there_is() -> None:
    expressions = "\n".join(re.findall(r"expr: >-\n((?: {10}.*\n)+)", RULES.read_text()))
    asked = set(re.findall(r"\b(?:nightscan|ml_inference|nvidia_ml)\w+", expressions)) - {"nightscan"}
    assert asked and {name.removesuffix("_bucket") for name in asked} <= BY_NAME.keys()
