"""Commands end with one line for what people can do something about."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import click

from engine.errors import EngineError

Command = TypeVar("Command", bound=Callable[..., None])


def telling(command: Command) -> Command:
    """Turns errors of ours into one line and exit code 1."""

    @functools.wraps(command)
    def told(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except EngineError as error:
            click.echo(f"nightscan: {error}", err=True)
            sys.exit(1)

    return told  # type: ignore[return-value]
