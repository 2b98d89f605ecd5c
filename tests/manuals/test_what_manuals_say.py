"""Links lead somewhere, settings load, tables say what the code does, examples run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engine.config import Settings, load_settings
from frontend.predict.field import ChoiceKind, NumberKind
from frontend.predict.parameters import FIELDS, MAX_TIMEOUT_MS
from frontend.routes.error_answers import optimized_errors
from tests.manuals.blocks import ROOT
from tests.manuals.manual_commands import MANUALS, ManualBlock, blocks_of

API = "frontend/README.md"
_LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
_SETTINGS = [block for block in blocks_of("json") if "optimized_serving" in block.text]


@pytest.mark.parametrize("manual", MANUALS)
def test_every_link_leads_somewhere(manual: str) -> None:
    for link in _LINK.findall((ROOT / manual).read_text()):
        if link.startswith("http"):
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / manual).parent / file if file else ROOT / manual
        assert target.exists(), link
        assert not anchor or anchor in _anchors(target), link


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#{1,6} (.*)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("block", _SETTINGS, ids=str)
def test_settings_that_are_shown_are_taken(block: ManualBlock, tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(block.text)
    found = load_settings({}, tmp_path / "settings.json")
    given = json.loads(block.text)["optimized_serving"]
    assert {name: getattr(found, name) for name in given} == given
    assert any(getattr(Settings(), name) != value for name, value in given.items()), "what holds anyway is shown"


def test_the_table_of_parameters_is_what_is_read() -> None:
    rows = _rows("### `POST /api/optimized/predict`", "name")
    assert [row[0].strip("`") for row in rows] == list(FIELDS)
    for (name, _, allowed, *_), field in zip(rows, FIELDS.values(), strict=True):
        if isinstance(field.kind, ChoiceKind):
            assert re.findall(r"`(\w+)`", allowed) == list(reversed(field.kind.words)), name
        elif isinstance(field.kind, NumberKind) and name != "`overlap_s`":  # less than a window, whatever that is
            assert allowed == f"{field.kind.low:g} to {field.kind.high:g}", name
    assert f"(1 to {MAX_TIMEOUT_MS})" in (ROOT / API).read_text()


def test_the_table_of_errors_has_the_codes_of_the_error_table() -> None:
    documented = {status: set(answer.text.split(", ")) for status, answer in optimized_errors().items()}
    shown: dict[int, set[str]] = {}
    for statuses, codes, *_ in _rows("### `POST /api/optimized/predict`", "status"):
        for status in map(int, statuses.split(", ")):
            shown.setdefault(status, set()).update(re.findall(r"`([A-Z_]+)`", codes))
    # Of two statuses in one row each has its own code.
    paired = shown.pop(408) | shown.pop(431)
    assert paired == documented[408] | documented[431]
    assert not {status: told for status, told in shown.items() if not told <= documented[status]}
    beyond = {501, 505}  # of requests that are no HTTP that anybody speaks
    assert set(documented) == set(shown) | {408, 431} | beyond


def _rows(heading: str, first: str) -> list[list[str]]:
    """Cells of the rows of the first table under `heading` whose first column is called `first`."""
    section = (ROOT / API).read_text().split(f"\n{heading}\n", 1)[1].split("\n### ", 1)[0]
    table = section.split(f"\n| {first} |", 1)[1].split("\n\n", 1)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    _, manager = [block.text for block in blocks_of("python") if block.manual == "README.md"]
    before = "import numpy\nfrom tests.conformance.model import loud_parts as create_model\n"
    before += "waveform = numpy.sin(numpy.arange(8000) / 3).astype('float32')\n"
    (tmp_path / "program.py").write_text(f"{before}{manager}\nprint(result['request_id'])\n")
    settings = {"NIGHTSCAN_OPTIMIZED_SERVING__STATE_DIR": str(tmp_path), "NIGHTSCAN_OPTIMIZED_SERVING__TUNING": "off"}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin", **settings},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.endswith("req_001\n"), done.stdout + done.stderr
