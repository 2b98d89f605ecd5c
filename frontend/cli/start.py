"""Where the program `nightscan` begins: Ctrl-C while it is still being loaded ends it as at any other moment."""

from __future__ import annotations

import importlib
import os
import signal
from types import FrameType

_INTERRUPTED = 130  # as CommandEnd has it, which is not loaded yet


def start() -> None:
    """Ends the process with a code of `CommandEnd`."""
    signal.signal(signal.SIGINT, _leave)
    main = importlib.import_module("frontend.cli.main").main
    signal.signal(signal.SIGINT, signal.default_int_handler)
    main()


def _leave(signum: int, frame: FrameType | None) -> None:
    os._exit(_INTERRUPTED)
