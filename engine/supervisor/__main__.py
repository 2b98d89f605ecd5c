"""`python -m engine.supervisor`: see `engine.supervisor.main`."""

from __future__ import annotations

import sys

from engine.supervisor.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
