"""Code and files of other people's: whatever goes wrong in them becomes one error that says whose they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from engine.errors import ConfigError


class UndecodableWeights(ConfigError):
    """The model file cannot be read as a model."""

    code = "UNDECODABLE_WEIGHTS"


@contextmanager
def blaming(
    explain: Callable[[str], str], kind: type[ConfigError] = ConfigError, *, passing: type[Exception] = ConfigError
) -> Iterator[None]:
    """Turns any exception of the body into a `kind` with the text that `explain` makes of the original's.

    The original rides along as the cause, with its traceback. Our own errors pass as they are, and so does `passing`.
    """
    try:
        yield
    except (ConfigError, passing):
        raise
    except BaseException as error:  # a model may raise anything, sys.exit() too, and so may a reader of broken bytes
        raise kind(explain(describe(error))) from error


def describe(error: BaseException) -> str:
    """Type and first line of an error; for `sys.exit()` also what that means here."""
    lines = str(error).splitlines()
    told = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if isinstance(error, SystemExit):
        told += ", which would end the process; let sys.exit() and the reading of a command line stand below"
        told += " `if __name__ == '__main__'`"
    return told
