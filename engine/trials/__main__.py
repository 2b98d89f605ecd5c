"""Looks for faster forms of one model: `python -m engine.trials --order FD [--factory FD]`, started by the supervisor.

It dies with `--parent`, its parent, also if that is dead before it has come this far.
`--share full` lets it compute as if nothing served here, `--forms A,B` try those alone.

The order is a TrialOrder on a descriptor, the pickled factory of one that travels so on another. What happens is told
in lines on the standard output (TrialNews); the last is `finished`, with a result on disk and exit code 0, or `failed`
with the reason.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from engine.errors import EngineError
from engine.observe.log import set_up_logging
from engine.supervisor.children import adopt_orphans
from engine.trials.priority import Share, die_with_parent, end_children, session_steps_back
from engine.trials.trials import Trials
from engine.tuning.order import TrialNews, TrialOrder

_FAILED = 1


def main(arguments: list[str]) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="engine.trials")
    parser.add_argument("--order", type=int, required=True)
    parser.add_argument("--factory", type=int)
    parser.add_argument("--parent", type=int, default=os.getppid())
    parser.add_argument("--share", choices=[each.name.lower() for each in Share], default="idle")
    parser.add_argument("--forms", type=lambda text: text.split(","))
    options = parser.parse_args(arguments)
    share = Share[options.share.upper()]
    die_with_parent(options.parent)
    signal.signal(signal.SIGTERM, _stop)
    for fd in (options.order, options.factory):
        if fd is not None:
            os.set_inheritable(fd, False)
    if share is not Share.FULL:
        session_steps_back()
    adopt_orphans()
    set_up_logging(is_shared=True)
    try:
        with open(options.order, "rb") as file:
            file.seek(0)  # whoever has written it shares the place with us
            order = TrialOrder.from_bytes(file.read())
        Trials(order, options.factory, _tell, share=share, forms=options.forms).run()
    except EngineError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"{error.filename or 'the disk'}: {error.strerror or error}")
    finally:
        end_children()
    _tell(TrialNews(state="finished"))
    return 0


def _fail(reason: str) -> int:
    _tell(TrialNews(state="failed", text=" ".join(reason.split())))
    return _FAILED


def _tell(news: TrialNews) -> None:
    """By the descriptor: no buffer keeps a line back. Whoever does not listen any more has its reasons."""
    try:
        os.write(sys.stdout.fileno(), news.to_line())
    except BrokenPipeError:
        pass


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    """Ends the process by way of everything that it cleans up."""
    sys.exit(128 + signum)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
