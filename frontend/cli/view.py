"""What the command line shows, as text for people: tables that stay readable in a pipe, too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from engine.config import EffectiveSetting
from frontend.attach_wait import lacking_lanes
from frontend.cli.store_view import store_rows
from frontend.cli.tables import table
from frontend.cli.tuning_view import HEADS, tuning_rows

_PIPE_WIDTH = 160


def config_view(settings: Iterable[EffectiveSetting]) -> str:
    """Every setting, a line each."""
    rows = [(item.name, item.value, item.unit, item.source, item.note) for item in settings]
    return _table(("setting", "value", "unit", "from", "note"), rows)


def status_view(status: dict[str, Any]) -> str:
    """Deployments with their instances, forms that were tried, stores; above them what is not as it should be."""
    supervisor = status.get("supervisor", {})
    head = f"supervisor {supervisor.get('pid')}, up {supervisor.get('uptime_s', 0):.0f} s, "
    head += f"{len(status.get('frontends', []))} frontends\n"
    for trouble in status.get("health", {}).get("troubles", []):
        times, since_s = trouble["count"], trouble["since_s"]
        head += f"degraded: {trouble['step']}: {trouble['error']} ({times} times in {since_s:.0f} s, tried again)\n"
    for reason in status.get("stores", {}).get("reasons", []):
        head += f"degraded: {reason}\n"
    head += "".join(f"{line}\n" for line in status.get("ignored", []))
    rows = [row for deployment in status.get("deployments", []) for row in _deployment_rows(deployment)]
    deployments = _table(("deployment", "version", "state", "instance", "device", "reason"), rows)
    tried, stores = list(tuning_rows(status)), list(store_rows(status))
    tuning = "\n" + _table(HEADS, tried) if tried else ""
    return head + deployments + tuning + ("\n" + _table(("store", "state", "figures"), stores) if stores else "")


def prediction_view(answer: dict[str, Any]) -> str:
    """The best labels of the whole recording and of each segment."""
    rows = [("whole", _ranking(answer["top_predictions"]))]
    for segment in answer["segments"]:
        span = f"{segment['start_s']:.1f}-{segment['end_s']:.1f} s"
        rows.append((span, _ranking(segment["top_predictions"])))
    return _table(("part", "labels"), rows)


def _deployment_rows(deployment: dict[str, Any]) -> list[tuple[str, ...]]:
    name, reason = str(deployment["deployment"]), str(deployment["reason"]).strip().splitlines()
    rows: list[tuple[str, ...]] = [(name, "", str(deployment["state"]), "", "", reason[-1] if reason else "")]
    rows += [("", "", "", "", "", text) for text in lacking_lanes(deployment)]
    for version in deployment["versions"]:
        for instance in version["instances"]:
            told = str(instance["error"]).strip().splitlines() or instance["warnings"]
            rows.append(
                ("", str(version["version"]), str(instance["state"]), f"{instance['name']} (pid {instance['pid']})",
                 str(instance["device"]), told[-1] if told else "")
            )  # fmt: skip
    return rows


def _ranking(predictions: Sequence[dict[str, Any]]) -> str:
    return ", ".join(f"{each['label']} {each['probability']:.2f}" for each in predictions[:3])


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "".join(f"{line}\n" for line in table(heads, rows, width=_PIPE_WIDTH, fold=True))
