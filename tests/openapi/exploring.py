"""One run of schemathesis at one server."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support.http import fetch

_ROOT = Path(__file__).resolve().parents[2]
_SETTINGS = Path(__file__).with_name("schemathesis.toml")
_PROGRAM = Path(sys.executable).with_name("st")
_LIMIT_S = 3600


def explore(port: int, *, cases: int, seed: int) -> subprocess.CompletedProcess[str]:
    """Every operation of the server's own document, with all checks that the settings leave on."""
    with tempfile.TemporaryDirectory() as folder:
        # As a file: of an address that it reads the document from, schemathesis leaves out that operation.
        document = Path(folder) / "openapi.json"
        document.write_bytes(fetch(("127.0.0.1", port), "GET", "/api/openapi.json").body)
        return subprocess.run(
            [
                str(_PROGRAM), "--config-file", str(_SETTINGS), "run", str(document),
                "--url", f"http://127.0.0.1:{port}", "--mode", "all", "--seed", str(seed),
                "--max-examples", str(cases), "--continue-on-failure",
            ],
            cwd=folder, env={**os.environ, "PYTHONPATH": str(_ROOT)}, timeout=_LIMIT_S,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
