"""Builds one environment for each server, all of them on one installation of torch.

Imports nothing but the standard library: it runs before there is anything else.
"""

from __future__ import annotations

import configparser
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from benchmarks.rivals.plans import BASE, OURS, PLANS, ROOT, Plan

PIP_LIMIT_S = 1800
_STAMP = "built.json"  # written last: an environment without it is made anew
_FAILED = "failed.txt"
_LINK = "nightscan_compare_base.pth"
_COMPILED = ("engine", "frontend", "benchmarks")


def cache_folder() -> Path:
    """Where environments and results lie: `nightscan-compare` in XDG_CACHE_HOME, else in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nightscan-compare"


class Environments:
    """All environments in one folder."""

    def __init__(self, folder: Path, plans: Mapping[str, Plan] = PLANS) -> None:
        """`plans` by name; the one of BASE is what all of them see."""
        self.folder = folder
        self._plans = plans

    def python(self, name: str) -> Path:
        """The interpreter of an environment, built or not."""
        return self.folder / name / "bin" / "python"

    def packages(self, name: str) -> Path:
        """Where its packages lie."""
        return self.folder / name / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"

    def missing(self, name: str) -> str:
        """Why a server of this environment cannot be started; empty: it can."""
        plan = self._plans[name]
        if absent := [program for program in plan.programs if shutil.which(program) is None]:
            return f"needs {', '.join(absent)} on this machine"
        if self._is_built(self._plans[BASE]) and self._is_built(plan):
            return ""
        with contextlib.suppress(FileNotFoundError):
            return f"not installed: {(self.folder / name / _FAILED).read_text()}"
        return "not installed; --install builds it"

    def build(self, names: Iterable[str]) -> None:
        """Builds what is not yet there as planned; what fails says so through `missing`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            for name in dict.fromkeys((BASE, *names)):
                if not self._is_built(self._plans[name]):
                    self._build(self._plans[name])

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _is_built(self, plan: Plan) -> bool:
        try:
            written: object = json.loads((self.folder / plan.name / _STAMP).read_text())
        except (FileNotFoundError, ValueError):
            return False
        return written == self._stamp(plan)

    def _stamp(self, plan: Plan) -> dict[str, object]:
        """Whatever makes a new environment necessary when it changes."""
        return {
            "requirements": list(plan.requirements),
            "base": list(self._plans[BASE].requirements),
            "python": sys.version,
            "folder": str(self.folder),
            "declared": _declared() if plan.name == OURS else "",
        }

    def _build(self, plan: Plan) -> None:
        print(f"installing {plan.name}: {' '.join(plan.requirements)}", file=sys.stderr, flush=True)
        place = self.folder / plan.name
        shutil.rmtree(place, ignore_errors=True)
        _run([sys.executable, "-m", "venv", *([] if plan.name == BASE else ["--without-pip"]), str(place)])
        if plan.name != BASE:
            (self.packages(plan.name) / _LINK).write_text(f"{self.packages(BASE)}\n")
        python = str(self.python(plan.name))
        pip = [str(self.python(BASE)), "-m", "pip", "--python", python, "install", "--quiet"]
        # with the working folder elsewhere, so that only what is installed can be found
        failed = _run([*pip, *plan.requirements], place) or _run([python, "-c", f"import {plan.imports}"], place)
        if not failed and plan.name == OURS:  # as pip has done to all others; what is installed as a link it leaves
            failed = _run([python, "-m", "compileall", "-q", *(str(ROOT / name) for name in _COMPILED)], place)
        if failed:
            (place / _FAILED).write_text(failed)
            print(f"{plan.name}: {failed}", file=sys.stderr, flush=True)
        else:
            (place / _STAMP).write_text(json.dumps(self._stamp(plan)))


def _declared() -> str:
    """What this project needs, as its setup.cfg says it."""
    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "setup.cfg")
    return settings["options"]["install_requires"] + settings["options.extras_require"]["openvino"]


def _run(command: list[str], folder: Path | None = None) -> str:
    """Runs it; what it said last where it failed."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PIP_LIMIT_S)
    except subprocess.TimeoutExpired:
        return f"not done after {PIP_LIMIT_S} s"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return "" if done.returncode == 0 else (lines or [f"exit code {done.returncode}"])[-1]
