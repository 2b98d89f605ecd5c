"""The real supervisor, with test instances."""

from __future__ import annotations

import sys

from engine.supervisor.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], instance_command=[sys.executable, "-m", "tests.supervisor.programs.instance"]))
