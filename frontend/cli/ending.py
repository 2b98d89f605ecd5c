"""Every command ends here: with one of the codes of `CommandEnd`, one line about what went wrong, and no traceback."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

import click

from engine.errors import EngineError
from frontend.cli.command_end import CommandEnd, end_of

TRACEBACK_VARIABLE = "NIGHTSCAN_TRACEBACK"


def end(code: CommandEnd) -> NoReturn:
    """Ends the command that runs, with what it has printed."""
    raise click.exceptions.Exit(code)


def ended(run: Callable[[], object]) -> int:
    """Runs a command; how it ended. What it printed has been written, or nobody reads it any more."""
    _replace_what_cannot_be_written()
    try:
        code = run()
        sys.stdout.flush()
        return code if isinstance(code, int) else CommandEnd.DONE
    except BrokenPipeError:  # whoever read has had enough, as `head` has
        _let_go_of_output()
        return CommandEnd.DONE
    except (KeyboardInterrupt, click.Abort):
        return CommandEnd.INTERRUPTED
    except click.ClickException as error:
        with contextlib.suppress(OSError):
            error.show()
        return CommandEnd.MISUSED
    except EngineError as error:
        _say(str(error))
        return end_of(error)
    except OSError as error:
        _let_go_of_output()
        _say(f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error))
        return CommandEnd.REFUSED
    except Exception as error:  # a fault of ours: people get a line, and where it was for those who mend it
        _say(_fault(error))
        return CommandEnd.REFUSED


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        click.echo(f"nightscan: {text}", err=True)


def _fault(error: Exception) -> str:
    if os.environ.get(TRACEBACK_VARIABLE):
        return "".join(traceback.format_exception(error))
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{os.path.basename(last.filename)}:{last.lineno}"
    return (
        f"a fault of nightscan itself: {type(error).__name__}: {error} ({where}); "
        f"with {TRACEBACK_VARIABLE}=1 it shows where"
    )


def _replace_what_cannot_be_written() -> None:
    """A name in letters that the terminal does not have is no reason to end."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _let_go_of_output() -> None:
    """Python writes what is left at its end, and would complain of that."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: no descriptor is under it
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
