"""What the manual says of ONNX files is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from engine.models.catalogue import load_model
from engine.models.onnx_notes import NAMES
from engine.spec import Activation
from tests.manuals.blocks import ROOT, blocks
from tests.models.onnx_files import linear, save, spec_of

MANUAL, HEADING = "frontend/README.md", "## Serving an .onnx file"


def test_the_names_of_the_metadata_are_those_that_are_read() -> None:
    section = (ROOT / MANUAL).read_text().split(f"\n{HEADING}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| ")][1:]
    assert {meaning.strip(): tuple(re.findall(r"`(\w+)`", names)) for meaning, names in rows} == dict(NAMES)


def test_what_is_to_be_run_writes_what_is_then_served(tmp_path: Path) -> None:
    path = save(linear(), tmp_path / "model.onnx")
    (code,) = blocks(MANUAL, HEADING, "python")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)
    described = load_model(spec_of(path)).description
    assert described.labels == ("fox", "owl", "rain") and described.sample_rate_hz == 48_000
    assert described.activation is Activation.SIGMOID and described.segment_s == 4 / 48_000
