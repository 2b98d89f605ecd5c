"""Every command of every manual is run: here, or where `ELSEWHERE` says."""

from __future__ import annotations

import json
import os
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.manuals.desk import QUICK, SETTING, Desk, furnish, started
from tests.manuals.manual_commands import ManualBlock, blocks_of
from tests.support.server import ROOT, ServerProcess, free_port

STORES = "tests/manuals/test_stores_manual.py"
DEPLOYMENT = "tests/manuals/test_deployment_manual.py"
STATIC = "tests/static/test_static.py"
# Whole sections, and single commands, that another test runs.
SECTIONS = {
    ("README.md", "## Cache and journal"): STORES,
    ("frontend/README.md", "## Where answers are kept"): STORES,
    ("frontend/README.md", "## Deployment"): DEPLOYMENT,
    ("frontend/README.md", "### nginx"): DEPLOYMENT,
    ("frontend/README.md", "### Upgrades"): DEPLOYMENT,
}
ELSEWHERE = {
    "tests/run": ".ci/run",
    ".venv/bin/python -m flake8 engine frontend tests benchmarks gunicorn.conf.py": STATIC,
    ".venv/bin/lint-imports --config setup.cfg --no-cache": STATIC,
    ".venv/bin/python -m mypy": STATIC,
    "python3 -m venv .venv": "tests/run",
    ".venv/bin/pip install -e '.[test]'": "tests/run",
    ".venv/bin/python -m tests.openapi --cases 500": "tests/openapi/test_server_keeps_it.py",
}
# Two gigabytes and five minutes for each, which nobody wants with every run: what they do is tested in parts there.
TOO_LARGE = {"benchmarks/compare.py": "tests/benchmarks/test_environments.py"}
INSTALL, PYTEST = "python3 -m venv", ".venv/bin/python -m pytest"

BASH = [
    block for block in blocks_of("bash")
    if (block.manual, block.heading) not in SECTIONS and not all(each in ELSEWHERE for each in block.commands)
    and not any(name in each for each in block.commands for name in TOO_LARGE)
]  # fmt: skip
(CLONED,) = [block for block in BASH if block.text.startswith(INSTALL)]
_OTHERS = [block for block in BASH if block is not CLONED]
SERVING = sorted({command for block in _OTHERS for command in block.commands if "nightscan serve" in command})
TYPED = [block for block in _OTHERS if not set(block.commands) & set(SERVING)]
(APP, MANAGER) = [block.text for block in blocks_of("python") if block.manual == "README.md"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return furnish(tmp_path_factory.mktemp("desk"), APP)


@pytest.fixture(scope="module")
def desk(folder: Path) -> Iterator[Desk]:
    status_port = free_port()
    environment = {**QUICK, f"{SETTING}STATUS_PORT": str(status_port)}
    with ServerProcess(["serve"], module="frontend.cli.main", environment=environment, ready="/ready") as process:
        yield Desk(folder, process, status_port)


def test_what_is_run_elsewhere_is_there() -> None:
    typed = {command for block in blocks_of("bash") for command in block.commands}
    assert set(ELSEWHERE) <= typed, "commands that no manual has any more"
    assert set(SECTIONS) <= {(block.manual, block.heading) for block in blocks_of("bash")}
    assert all((ROOT / file).is_file() for file in [*ELSEWHERE.values(), *SECTIONS.values(), *TOO_LARGE.values()])


@pytest.mark.parametrize("block", TYPED, ids=str)
def test_it_works_beside_a_server(desk: Desk, block: ManualBlock) -> None:
    assert desk.type(block.text, directory=ROOT if PYTEST in block.text else None)


@pytest.mark.parametrize("command", SERVING)
def test_it_serves(folder: Path, command: str) -> None:
    with started(command, folder) as process:
        assert process.fetch("GET", "/api/optimized/health").json()["initialized"] is True


def test_the_answer_of_the_readme_is_of_its_form(desk: Desk) -> None:
    (asked,) = [block for block in TYPED if block.manual == "README.md" and block.heading == "## One request"]
    (shown,) = [block for block in blocks_of("json") if (block.manual, block.heading) == (asked.manual, asked.heading)]
    answer, told = json.loads(desk.type(asked.text)), json.loads(shown.text)
    assert _form(answer) == _form(told)
    assert answer["predicted_label"] == told["predicted_label"] == "amphibian_call"


def _form(value: object) -> object:
    """Names and kinds, without the values."""
    if isinstance(value, dict):
        return {name: _form(each) for name, each in value.items()}
    return [_form(value[0])] if isinstance(value, list) else type(value)


def test_what_is_installed_from_a_clone_serves(tmp_path: Path) -> None:
    """As it stands, but that what is installed here already is not fetched again."""
    clone = tmp_path / "clone"
    left_out = shutil.ignore_patterns(".venv", ".git", "build", "*.egg-info", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, clone, ignore=left_out)
    (tmp_path / "python3").symlink_to(Path(sys.executable).resolve())
    (clone / "typed.py").write_text(f"import os\nos.execvp('bash', ['bash', '-euc', {CLONED.text.strip()!r}])\n")
    variables = {
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{clone}{os.pathsep}{sysconfig.get_path('purelib')}",
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say that there is to be none
    }
    environment = {**QUICK, **variables}
    with ServerProcess([], module="typed", environment=environment, directory=clone, ready="/ready") as process:
        assert process.fetch("GET", "/api/openapi.json").status == 200
        assert (clone / ".venv" / "bin" / "nightscan").is_file()
