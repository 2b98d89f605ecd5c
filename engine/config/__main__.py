"""`python -m engine.config` writes the reference table; `--into FILE` puts it between the markers of a manual."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from engine.config.reference import reference_table, replace_table


def main() -> None:
    """Entry of the module run as a program."""
    parser = argparse.ArgumentParser(prog="python -m engine.config", description="the settings reference table")
    parser.add_argument("--into", type=Path, help="a markdown file with settings:begin and settings:end markers")
    path: Path | None = parser.parse_args().into
    if path is None:
        sys.stdout.write(reference_table() + "\n")
    else:
        path.write_text(replace_table(path.read_text()))


if __name__ == "__main__":
    main()
