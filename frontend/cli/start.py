"""Where the program `nightscan` begins, and how signals end it: with whatever it has started ended before it."""

from __future__ import annotations

import importlib
import os
import signal
from types import FrameType

_INTERRUPTED = 130  # as CommandEnd has it, which is not loaded yet


def start() -> None:
    """Ends the process with a code of `CommandEnd`; after SIGTERM and SIGHUP with 128 and their number."""
    signal.signal(signal.SIGINT, _leave_at_once)
    main = importlib.import_module("frontend.cli.main").main
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for signum in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(signum) is signal.SIG_DFL:  # not so under nohup
            signal.signal(signum, _leave_in_order)
    try:
        main()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done, and Python would show where it was


def _leave_at_once(signum: int, frame: FrameType | None) -> None:
    os._exit(_INTERRUPTED)


def _leave_in_order(signum: int, frame: FrameType | None) -> None:
    signal.signal(signum, signal.SIG_IGN)  # once is enough
    raise SystemExit(128 + signum)
