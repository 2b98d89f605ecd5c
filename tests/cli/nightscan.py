"""The command line as people use it: in a process of its own, with nothing of the tests' settings."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from frontend.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
SETTING = "NIGHTSCAN_OPTIMIZED_SERVING__"
COMMAND = [sys.executable, "-m", "frontend.cli.main"]
LINES, COLUMNS = 24, 80


@dataclass(frozen=True)
class Told:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def words(self) -> str:
        """What it printed, however the lines were broken."""
        return " ".join(self.out.split())

    def assert_fits(self) -> None:
        """One screen, and no traceback."""
        lines = self.out.splitlines()
        assert len(lines) <= LINES and all(len(line) <= COLUMNS for line in lines), self.out
        self.assert_no_traceback()

    def assert_no_traceback(self) -> None:
        assert "Traceback (most recent" not in self.out + self.err, self.out + self.err


def clean_environment(runtime_dir: Path | None = None, variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """No NIGHTSCAN variable of whoever runs the tests; `variables` over it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("NIGHTSCAN")}
    at = {} if runtime_dir is None else {f"{SETTING}RUNTIME_DIR": str(runtime_dir)}
    return {**own, "PYTHONPATH": str(ROOT), **at, **(variables or {})}


def in_this_process(*arguments: str) -> Told:
    """As `nightscan`, without the time that a process takes: for what is refused before anything is done."""
    found = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    return Told(found.exit_code, found.stdout, found.stderr)


def nightscan(
    *arguments: str,
    runtime_dir: Path | None = None,
    timeout_s: float = 60,
    variables: Mapping[str, str] | None = None,
) -> Told:
    """Runs it to its end."""
    done = subprocess.run(
        [*COMMAND, *arguments], env=clean_environment(runtime_dir, variables), cwd=ROOT, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=timeout_s,
    )  # fmt: skip
    told = Told(done.returncode, done.stdout, done.stderr)
    told.assert_no_traceback()
    return told
