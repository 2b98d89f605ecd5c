"""What a reader may rely on without running anything: types, style, and who may import whom."""

from __future__ import annotations

import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"


@pytest.mark.timeout(600)
def test_types_are_strict() -> None:
    # What it knows of packages lies with them: another checkout of the same environment need not read them again.
    run(str(BIN / "mypy"), "--cache-dir", str(Path(sys.prefix) / "mypy_cache"))


def test_style() -> None:
    run(str(BIN / "flake8"), "engine", "frontend", "tests", "benchmarks", "gunicorn.conf.py")


def test_import_contracts() -> None:
    run(str(BIN / "lint-imports"), "--config", "setup.cfg", "--no-cache")


def test_no_import_cycles_not_even_for_types() -> None:
    graph = grimp.build_graph("engine", "frontend", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(imports).prepare()  # raises CycleError, which names the cycle


def test_onnx_runtime_is_imported_where_it_is_told_to_be_quiet_first() -> None:
    packages = ("engine", "frontend", "tests", "benchmarks")
    graph = grimp.build_graph(*packages, cache_dir=None, include_external_packages=True)
    importers = graph.find_modules_that_directly_import("onnxruntime")
    assert importers == {"engine.models.quiet_onnxruntime"}, "take it from engine.models.quiet_onnxruntime"
