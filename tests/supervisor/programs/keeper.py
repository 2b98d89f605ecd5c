"""The real keeper, with the supervisor that has test instances."""

from __future__ import annotations

import sys

from engine.supervisor.keeper import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], supervisor_command=[sys.executable, "-m", "tests.supervisor.programs.supervisor"]))
