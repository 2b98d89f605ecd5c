"""One comparison from the command line to its files, in the environment that has what this project needs."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.processes import adopt_orphans
from benchmarks.rivals.contenders import contenders
from benchmarks.rivals.environments import Environments
from benchmarks.rivals.machine import about
from benchmarks.rivals.options import parse_arguments
from benchmarks.rivals.picture import picture
from benchmarks.rivals.plans import SERVERS
from benchmarks.rivals.results import Results, read_results
from benchmarks.rivals.rounds import Comparison
from benchmarks.rivals.running import end_on_term
from benchmarks.rivals.table import table
from benchmarks.workloads import WORKLOADS


def main() -> int:
    os.environ.pop("PYTHONSAFEPATH", None)  # it was for this process alone
    options = parse_arguments(sys.argv[1:])
    options.into.mkdir(parents=True, exist_ok=True)
    results = read_results(options.redraw) if options.redraw else _compare(options)
    return _tell(results, options.into)


def _compare(options: argparse.Namespace) -> Results:
    end_on_term()
    adopt_orphans()
    environments = Environments(options.cache)
    with tempfile.TemporaryDirectory(prefix="ns-compare-") as states:
        chosen = contenders(options.servers, options.precision, Path(states))
        results = Results(
            about(sys.argv[1:], [server.plan for server in chosen], environments),
            {server.name: server.configured for server in chosen},
            [server.name for server in chosen if server.ours],
        )
        if others := [name for name in SERVERS if name not in options.servers]:
            results.notes.append(f"not asked for, which --servers does: {', '.join(others)}")
        comparison = Comparison(
            results,
            environments,
            seconds=options.seconds,
            concurrencies=options.concurrency,
            file=options.into / "results.json",
        )
        try:
            comparison.run(chosen, [WORKLOADS[name] for name in options.workloads], options.rounds)
        except KeyboardInterrupt:
            results.notes.append("interrupted before all rounds were run")
    return results


def _tell(results: Results, folder: Path) -> int:
    text = table(results)
    (folder / "table.md").write_text(text)
    (folder / "picture.svg").write_text(picture(results))
    print(text)
    print(f"written to {folder}", file=sys.stderr)
    return 0 if results.rows else 1


if __name__ == "__main__":
    sys.exit(main())
