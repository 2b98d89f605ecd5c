"""`python -m engine.observe` writes the table of metrics; `--into FILE` puts it between the markers of a manual."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from engine.observe.exported import metrics_table, replace_metrics


def main() -> None:
    """Entry of the module run as a program."""
    parser = argparse.ArgumentParser(prog="python -m engine.observe", description="the table of metrics")
    parser.add_argument("--into", type=Path, help="a markdown file with metrics:begin and metrics:end markers")
    path: Path | None = parser.parse_args().into
    if path is None:
        sys.stdout.write(metrics_table() + "\n")
    else:
        path.write_text(replace_metrics(path.read_text()))


if __name__ == "__main__":
    main()
