"""Schemathesis at real servers, one for each way in: `python -m tests.openapi --cases 500`.

The exit status is 0 where nothing was found.
"""

from __future__ import annotations

import argparse
import sys

from tests.conformance.conftest import MODEL, WAYS
from tests.openapi.exploring import explore
from tests.support.server import ServerProcess


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=500, help="of each operation")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    failed = 0
    for way, command in WAYS.items():
        with ServerProcess(command, environment=MODEL, ready="/ready") as process:
            done = explore(process.port, cases=arguments.cases, seed=arguments.seed)
        print(f"--- {way}\n{done.stdout}", flush=True)
        failed |= done.returncode
    return failed


if __name__ == "__main__":
    sys.exit(main())
