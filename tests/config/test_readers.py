"""Every setting is acted on somewhere, or says that nothing acts on it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from engine.config import Settings, declared, effective_settings, ineffective_settings, load_settings, reference_table
from engine.config.declaration import SettingDeclaration
from tests.config.published import DOCUMENTED_ENVIRONMENT, PREFIX

ROOT = Path(__file__).resolve().parents[2]
SHOWN_ONLY = set((ROOT / "engine" / "observe").glob("*.py"))  # to show a figure is not to act on it
IDLE = [item for item in declared() if item.rule.no_effect]


def reads(path: Path) -> set[str]:
    """Names read off something that is called settings."""
    nodes = ast.walk(ast.parse(path.read_text()))
    found = [node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)]
    return {node.attr for node in found if ast.unparse(node.value).lower().endswith("settings")}


def readers() -> dict[str, set[Path]]:
    """Setting -> files that read it."""
    files = [path for package in ("engine", "frontend") for path in (ROOT / package).rglob("*.py")]
    found: dict[str, set[Path]] = {item.name: set() for item in declared()}
    for path in files:
        for name in reads(path) & found.keys():
            found[name].add(path)
    return found


def test_a_setting_is_read_or_says_that_it_has_no_effect() -> None:
    idle = {item.name for item in IDLE}
    found = readers()
    assert {name for name, where in found.items() if not where - SHOWN_ONLY} == idle


@pytest.mark.parametrize("item", IDLE, ids=lambda item: item.name)
def test_what_has_no_effect_is_said_wherever_it_is_shown(item: SettingDeclaration) -> None:
    name = item.name
    line = next(line for line in reference_table().splitlines() if line.startswith(f"| `{name}`"))
    assert "**No effect**: " in line
    assert next(each for each in effective_settings(Settings()) if each.name == name).note == "no effect"


def test_a_start_with_such_a_setting_warns_by_name_value_and_source() -> None:
    assert ineffective_settings(Settings()) == []
    assert ineffective_settings(load_settings({PREFIX + k: v for k, v in DOCUMENTED_ENVIRONMENT.items()})) == []
    (line,) = ineffective_settings(load_settings({"API_RATE_LIMIT": "60 per minute"}))
    assert line.startswith("api_rate_limit=60 per minute (environment API_RATE_LIMIT) has no effect: requests are not")
