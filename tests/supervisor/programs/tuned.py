"""The real supervisor with real instances and real trials, which are quick: of one form, and as if nothing served."""

from __future__ import annotations

import sys

from engine.launch.starting import module_command
from engine.supervisor.main import main

TRIALS = ("--share", "full", "--forms", "onnxruntime-fp32")

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], trial_command=tuple(module_command("engine.trials", *TRIALS)), trial_patience=3.0))
