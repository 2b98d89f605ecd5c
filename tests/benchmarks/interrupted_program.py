"""Starts a server that does not want to end, prints the processes of it, and waits to be interrupted."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from benchmarks.processes import adopt_orphans, descendants
from benchmarks.rivals import running
from benchmarks.rivals.contender import Contender
from benchmarks.rivals.sizes import ROUTE
from benchmarks.workloads import WORKLOADS
from tests.benchmarks.rivals_program import Here, stubborn


def main() -> int:
    running.end_on_term()
    adopt_orphans()
    running.STOP_S = 1.0
    server = Contender("triton", stubborn, "says the same to everybody", ROUTE)
    try:
        with running.running(server, WORKLOADS["tiny"], Here(Path(os.devnull))):
            print(*descendants(), flush=True)
            signal.pause()
    except KeyboardInterrupt:
        print("left:", *descendants(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
