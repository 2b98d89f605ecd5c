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
    except Exception as error:  # not ours to foresee: a model may raise anything, and so may a reader of broken bytes
        lines = str(error).splitlines()
        raise kind(explain(f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__)) from error
