"""How commands of `nightscan` end: one table, which the manual repeats and a test compares."""

from __future__ import annotations

from enum import IntEnum

from engine.errors import (
    CallerError,
    ConfigError,
    DeadlineExceeded,
    DeploymentFailed,
    EngineError,
    NotReady,
    PeerGone,
    StoreAway,
    StoreDenied,
    StoreUnavailable,
)


class CommandEnd(IntEnum):
    """Exit codes. `serve` and `engine` become gunicorn and the supervisor, and end as those do."""

    DONE = 0
    PARTLY = 1
    MISUSED = 2
    NOTHING_RUNS = 3
    REFUSED = 4
    INTERRUPTED = 130

    @property
    def text(self) -> str:
        """What it means, as the manual has it."""
        return _TEXTS[self]


_TEXTS = {
    CommandEnd.DONE: "done; what was looked at is well",
    CommandEnd.PARTLY: "done in part, or what was looked at is not well: starting, degraded, failed, stalled",
    CommandEnd.MISUSED: "the command line or a setting is wrong; nothing was done",
    CommandEnd.NOTHING_RUNS: "nothing runs, or does not answer",
    CommandEnd.REFUSED: "refused, or failed on the way; the message says why",
    CommandEnd.INTERRUPTED: "interrupted, by Ctrl-C",
}

_KINDS: tuple[tuple[type[EngineError], CommandEnd], ...] = (  # the first that fits counts
    (ConfigError, CommandEnd.MISUSED),
    (CallerError, CommandEnd.REFUSED),
    (DeploymentFailed, CommandEnd.REFUSED),
    (StoreDenied, CommandEnd.REFUSED),
    (NotReady, CommandEnd.NOTHING_RUNS),
    (DeadlineExceeded, CommandEnd.NOTHING_RUNS),
    (PeerGone, CommandEnd.NOTHING_RUNS),
    (StoreAway, CommandEnd.NOTHING_RUNS),
    (StoreUnavailable, CommandEnd.NOTHING_RUNS),
)


def end_of(error: EngineError) -> CommandEnd:
    """How a command ends that met this error."""
    return next((end for kind, end in _KINDS if isinstance(error, kind)), CommandEnd.REFUSED)
