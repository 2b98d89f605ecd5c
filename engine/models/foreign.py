"""Code and files of other people's: whatever goes wrong in them becomes one error that says whose they are."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from engine.errors import ConfigError, EngineError


class UndecodableWeights(ConfigError):
    """The model file cannot be read as a model."""

    code = "UNDECODABLE_WEIGHTS"


class blaming:
    """Turns any exception of the body into a `kind` with the text that `explain` makes of the original's.

    A model may raise anything, sys.exit() too, and so may a reader of broken bytes. The original rides along as the
    cause, with its traceback. Our own errors pass as they are, and so does `passing`.
    """

    def __init__(
        self,
        explain: Callable[[str], str],
        kind: type[EngineError] = ConfigError,
        *,
        passing: type[Exception] = ConfigError,
    ) -> None:
        self._explain = explain
        self._kind = kind
        self._passing = passing

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: TracebackType | None) -> None:
        if error is not None and not isinstance(error, (ConfigError, self._passing)):
            raise self._kind(self._explain(describe(error))) from error


def describe(error: BaseException) -> str:
    """Type and first line of an error; for `sys.exit()` also what that means here."""
    lines = str(error).splitlines()
    told = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if isinstance(error, SystemExit):
        told += ", which would end the process; let sys.exit() and the reading of a command line stand below"
        told += " `if __name__ == '__main__'`"
    return told
