"""How this project's own server is started: as shipped, with what its tuning found kept between starts."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.rivals.contender import Contender, Launch, Site
from benchmarks.rivals.running import NotServing
from benchmarks.rivals.sizes import TOP
from benchmarks.servers import wait_tuned

PREFIX = "NIGHTSCAN_OPTIMIZED_SERVING__"
DEFAULT_PRECISION = "fp32"
_TOLERANCES = {"fp32": 1e-3}
_GATE_MOST = 0.1  # what the gate lets a probability move by


def nightscan(precision: str, states: Path) -> Contender:
    """With this `precision`; `states` is a folder for what it keeps, by workload."""
    shipped = precision == DEFAULT_PRECISION
    return Contender(
        name="nightscan" if shipped else f"nightscan, {precision}",
        launch=_launch(precision, states / precision),
        configured="shipped defaults (cache, journal and statistics on), after its tuning has ended"
        + ("" if shipped else f", precision={precision}"),
        path=f"/api/optimized/predict?top_k={TOP}",
        ours=True,
        tolerance=_TOLERANCES.get(precision, _GATE_MOST),
    )


def _launch(precision: str, states: Path) -> Callable[[Site], Launch]:
    def launch(site: Site) -> Launch:
        state = states / site.workload.name
        state.mkdir(parents=True, exist_ok=True)
        runtime = site.scratch / "run"
        runtime.mkdir(mode=0o700)
        own = {"PORT": str(site.ports[0]), "RUNTIME_DIR": str(runtime), "STATE_DIR": str(state)}
        if precision != DEFAULT_PRECISION:
            own["PRECISION"] = precision
        prefixed = {f"{PREFIX}{name}": value for name, value in own.items()}
        return Launch([str(site.bin / "nightscan"), "serve"], {**site.workload.environment(site.scratch), **prefixed})

    return launch


def wait_until_tuned(url: str) -> str:
    """Until it serves the form that it will serve from then on; what it says of that. Raises NotServing."""
    try:
        found = wait_tuned(urllib.parse.urlsplit(url).port or 0)
    except SystemExit as error:
        raise NotServing(str(error)) from error
    return "; ".join(map(_told, found.values())) or "not tuned"


def _told(tuning: Mapping[str, Any]) -> str:
    speedup, reason = tuning.get("speedup"), tuning.get("reason")
    return "".join(
        (
            f"serves the form {tuning.get('form')} ({tuning['state']})",
            f", {speedup:.2f} times the eager one in its trials" if speedup else "",
            f": {reason}" if reason else "",
        )
    )
