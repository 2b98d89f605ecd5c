"""Every command ends here: with one of the codes of `CommandEnd`, one line about what went wrong, and no traceback.

With `--json` that is a document, too, so that a program always has one to read.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

import click

from engine.errors import EngineError
from frontend.cli.command_end import CommandEnd, end_of
from frontend.cli.printing import one_line

TRACEBACK_VARIABLE = "NIGHTSCAN_TRACEBACK"


def end(code: CommandEnd) -> NoReturn:
    """Ends the command that runs, with what it has printed."""
    raise click.exceptions.Exit(code)


def ended(run: Callable[[], object], *, as_json: bool = False) -> int:
    """Runs a command; how it ended. What it printed has been written, or nobody reads it any more."""
    _prepare_streams()
    try:
        code = run()
        sys.stdout.flush()
        return code if isinstance(code, int) else CommandEnd.DONE
    except BrokenPipeError:  # whoever read has had enough, as `head` has
        _let_go_of_output()
        return CommandEnd.DONE
    except (KeyboardInterrupt, click.Abort):
        failed, text = CommandEnd.INTERRUPTED, "interrupted"
    except click.ClickException as error:
        with contextlib.suppress(OSError):
            error.show()
        failed, text = CommandEnd.MISUSED, error.format_message()
    except EngineError as error:
        failed, text = end_of(error), _say(str(error))
    except OSError as error:
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
        failed, text = CommandEnd.REFUSED, _say(text)
    except Exception as error:  # a fault of ours: people get a line, and where it was for those who mend it
        failed, text = CommandEnd.REFUSED, _fault(error)
    _print_last({"error": text, "exit_code": int(failed)} if as_json else None)
    return failed


def _say(text: str) -> str:
    """In one line, whatever stands in it: what a server said, or the name of a file."""
    line = one_line(text)
    with contextlib.suppress(OSError):
        click.echo(f"nightscan: {line}", err=True)
    return line


def _fault(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{os.path.basename(last.filename)}:{last.lineno}"
    if os.environ.get(TRACEBACK_VARIABLE):
        with contextlib.suppress(OSError):
            click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    text = f"a fault of nightscan itself: {type(error).__name__}: {error} ({where})"
    return _say(f"{text}; with {TRACEBACK_VARIABLE}=1 it shows where")


def _print_last(document: dict[str, object] | None) -> None:
    """What is still to be written, and the document; where nothing can be written, nothing."""
    try:
        sys.stdout.flush()
        if document is not None:
            click.echo(json.dumps(document))
    except OSError:
        _let_go_of_output()


def _prepare_streams() -> None:
    """A name in letters that the terminal does not have is no reason to end, nor is a stream that is closed."""
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _nowhere() -> io.TextIOWrapper:
    return open(os.devnull, "w")


def _let_go_of_output() -> None:
    """Python writes what is left at its end, and would complain of that."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: no descriptor is under it
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
