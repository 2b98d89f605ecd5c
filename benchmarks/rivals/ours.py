"""How this project's own server is started: with its shipped defaults, and what its tuning found kept between starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.rivals.contender import Contender, Launch, Site
from benchmarks.rivals.sizes import TOP

PREFIX = "NIGHTSCAN_OPTIMIZED_SERVING__"
PRECISIONS = ("fp32", "auto", "bf16", "fp16", "int8")
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
