"""This project's server beside others, each in an environment of its own that this builds.

    python benchmarks/compare.py --install [--servers mosec triton] [--workloads resnet] [--rounds 5]

Needs nothing that is not installed by it; what it does is in `benchmarks/rivals`.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # in place of this folder, whose http.py hides another
    runpy.run_module("benchmarks.rivals", run_name="__main__")
