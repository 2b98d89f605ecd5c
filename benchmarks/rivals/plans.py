"""What each server is installed from: pinned releases, and what else it needs on the machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASE = "base"
OURS = "nightscan"


@dataclass(frozen=True)
class Plan:
    """One environment: packages beside those of the base, which every environment sees."""

    name: str
    requirements: tuple[str, ...]
    imports: str  # a module that is there when the installation is whole
    programs: tuple[str, ...] = ()  # that pip does not bring


PLANS = {
    plan.name: plan
    for plan in (
        Plan(BASE, ("torch==2.13.0", "numpy==2.4.6", "soundfile==0.14.0", "soxr==1.1.0"), "torch"),
        Plan(OURS, ("--editable", f"{ROOT}[openvino]"), "frontend.cli.main"),
        Plan("mosec", ("mosec==0.9.8",), "mosec"),
        Plan("triton", ("nvidia-pytriton==0.7.0",), "pytriton"),
        Plan("litserve", ("litserve==0.2.19",), "litserve"),
        Plan("bentoml", ("bentoml==1.4.40",), "bentoml"),
        Plan("flask", ("flask==3.1.3", "gunicorn==27.0.1"), "gunicorn"),
        Plan("fastapi", ("fastapi==0.165.0", "uvicorn[standard]==0.54.0"), "fastapi"),
        Plan("ray", ("ray[serve]==2.60.0",), "ray.serve"),
        # workers of MLServer 1.7.1 end again and again with uvloop 0.22 and later
        Plan("mlserver", ("mlserver==1.7.1", "uvloop<0.22"), "mlserver"),
        Plan(
            "torchserve",
            ("torchserve==0.12.0", "torch-model-archiver==0.12.0", "pyyaml", "packaging", "psutil", "enum-compat"),
            "ts",
            ("java",),
        ),
    )
}

# servers by name, with the environment that each is started from
SERVERS = {
    "nightscan": OURS,
    "mosec": "mosec",
    "triton": "triton",
    "litserve": "litserve",
    "bentoml": "bentoml",
    "flask": "flask",
    "fastapi": "fastapi",
    "gunicorn-dirty": "flask",
    "ray": "ray",
    "mlserver": "mlserver",
    "torchserve": "torchserve",
    "pytriton": "triton",
}
DEFAULT_SERVERS = ("nightscan", "mosec", "triton", "litserve", "bentoml", "flask")
