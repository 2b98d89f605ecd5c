"""Schemathesis at real servers, one for each way in: `python -m tests.openapi --cases 500`.

The exit status is 0 where nothing was found.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from tests.conformance.conftest import MODEL, WAYS
from tests.openapi.exploring import explore
from tests.support.server import ServerProcess


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=500, help="of each operation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--way", choices=WAYS, action="append", help="in; default: each")
    given = parser.parse_args(arguments)
    failed = 0
    for way in given.way or WAYS:
        with ServerProcess(WAYS[way], environment=MODEL, ready="/ready") as process:
            done = explore(process.port, cases=given.cases, seed=given.seed)
        print(f"--- {way}\n{done.stdout}", flush=True)
        failed |= done.returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
