"""The real supervisor, with test instances, which cost next to nothing: as many as a test wants."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from engine.core.control_groups import Cores
from engine.shm import memory
from engine.supervisor.main import main

if __name__ == "__main__":
    memory.PROC = Path(os.environ.get("NS_TEST_PROC", memory.PROC))  # a machine with other memory
    command = (sys.executable, "-m", "tests.supervisor.programs.instance")
    cores = int(os.environ["NS_TEST_CORES"])
    changed = {"instance_command": command, "cores": Cores(cores, cores), "trial_patience": 2.0}
    sys.exit(main(sys.argv[1:], trial_command=(*command[:2], "tests.supervisor.programs.trial"), **changed))
