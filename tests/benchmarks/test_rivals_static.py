"""The comparison needs nothing but this project and what it installs."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.rivals.contenders import contenders
from benchmarks.rivals.plans import BASE, DEFAULT_SERVERS, OURS, PLANS, ROOT, SERVERS

_FOLDER = ROOT / "benchmarks" / "rivals"
_ALONE = ("__init__", "__main__", "environments", "options", "plans")  # run before anything is installed
_OF_THE_PROJECT = {"benchmarks", "engine", "frontend"}
_OF_THE_BASE = {"numpy", "soundfile", "soxr", "torch"}
_OF_AN_APP = {
    "bentoml_app": {"bentoml"},
    "dirty_app": {"flask", "gunicorn"},
    "dirty_model": {"gunicorn"},
    "fastapi_app": {"fastapi"},
    "litserve_app": {"litserve", "fastapi"},
    "mlserver_app": {"mlserver"},
    "mosec_app": {"mosec"},
    "pytriton_app": {"pytriton"},
    "ray_app": {"ray", "starlette"},
    "torchserve_handler": {"ts"},
    "triton_model": {"triton_python_backend_utils"},
}


def imported(file: Path) -> Iterator[str]:
    """Modules, those of the standard library left out."""
    for node in ast.walk(ast.parse(file.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [str(node.module)]
        yield from (name for name in names if name.partition(".")[0] not in sys.stdlib_module_names)


@pytest.mark.parametrize("name", _ALONE)
def test_what_runs_before_anything_is_installed_needs_only_the_standard_library(name: str) -> None:
    allowed = {f"benchmarks.rivals.{module}" for module in _ALONE}
    assert set(imported(_FOLDER / f"{name}.py")) <= allowed
    assert set(imported(ROOT / "benchmarks" / "compare.py")) == set()


@pytest.mark.parametrize("file", sorted((_FOLDER / "apps").glob("*.py")), ids=lambda file: str(file.stem))
def test_an_application_imports_its_environment_the_base_and_this_project(file: Path) -> None:
    found = {name.partition(".")[0] for name in imported(file)}
    assert found <= _OF_THE_PROJECT | _OF_THE_BASE | _OF_AN_APP.get(file.stem, set())


@pytest.mark.parametrize("file", sorted(_FOLDER.glob("*.py")), ids=lambda file: str(file.stem))
def test_the_rest_imports_the_base_and_this_project(file: Path) -> None:
    assert {name.partition(".")[0] for name in imported(file)} <= _OF_THE_PROJECT | _OF_THE_BASE


@pytest.mark.parametrize("file", sorted(_FOLDER.rglob("*.py")), ids=lambda file: str(file.stem))
def test_no_path_leads_out_of_the_project(file: Path) -> None:
    texts = [str(node.value) for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)]
    assert [text for text in texts if text.startswith(("..", "~", "/home", "/opt", "/tmp"))] == []


def test_every_server_has_an_environment_and_a_way_to_start(tmp_path: Path) -> None:
    known = {contender.name: contender for contender in contenders(list(SERVERS), ["fp32", "auto"], tmp_path)}
    assert known.keys() == {*SERVERS, "nightscan, auto"}
    assert {contender.plan for contender in known.values()} == PLANS.keys() - {BASE}
    assert set(DEFAULT_SERVERS) >= {"nightscan", "mosec", "litserve", "bentoml", "triton", "flask"}


@pytest.mark.parametrize("name", sorted(PLANS.keys() - {OURS}))
def test_what_is_compared_is_pinned(name: str) -> None:
    assert "==" in PLANS[name].requirements[0]
