"""Builds what is missing, and goes on in the environment that has what this project needs.

Imports nothing but the standard library until it is there.
"""

from __future__ import annotations

import os
import sys

from benchmarks.rivals.environments import Environments
from benchmarks.rivals.options import parse_arguments
from benchmarks.rivals.plans import BASE, OURS, ROOT, SERVERS


def main() -> int:
    options = parse_arguments(sys.argv[1:])
    environments = Environments(options.cache)
    if options.install:
        environments.build((OURS, *(SERVERS[name] for name in options.servers)))
    for name in (BASE, OURS):
        if reason := environments.missing(name):
            raise SystemExit(f"{name}: {reason}")
    python = str(environments.python(OURS))
    arguments = [argument for argument in sys.argv[1:] if argument != "--install"]
    command = [python, "-m", "benchmarks.rivals.whole_run", *arguments]
    # the folder in front of the path is the working folder, which may be this one and have an http.py
    os.execve(python, command, {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"})


if __name__ == "__main__":
    sys.exit(main())
