"""`nightscan status`: how the engine is, why, and what to do about it."""

from __future__ import annotations

import json
import sys
import threading

import click

from engine.config import load_settings
from frontend.cli.ending import end
from frontend.cli.looking import Sight, look
from frontend.cli.printing import json_option
from frontend.cli.summary import summary
from frontend.cli.view import status_view

_CLEAR = "\x1b[H\x1b[J"  # to the top, and nothing of the last time below
_EVERY = click.FloatRange(0.1, 3600)


@click.command()
@click.option("--all", "everything", is_flag=True, help="Instances, forms of models and figures of stores, too.")
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option("--every-s", type=_EVERY, default=1.0, show_default=True, help="How often with --watch.")
@json_option
def status(everything: bool, watch: bool, every_s: float, as_json: bool) -> None:
    """Say how the engine is, why, and what to do about it.

    Ends with 0 for a healthy engine, 1 for one that is starting, degraded, failed, stalled or empty, 3 for none.
    """
    runtime_dir = load_settings().runtime_dir
    pause = threading.Event()
    while watch:
        _print(look(runtime_dir), everything=everything, as_json=as_json, again=True)
        pause.wait(every_s)
    sight = look(runtime_dir)
    _print(sight, everything=everything, as_json=as_json, again=False)
    end(sight.verdict.state.end)


def _print(sight: Sight, *, everything: bool, as_json: bool, again: bool) -> None:
    """Once, or in place of the last time: of JSON one line each."""
    if as_json:
        click.echo(json.dumps(sight.to_json(), indent=None if again else 2))
    else:
        if again and sys.stdout.isatty():
            click.echo(_CLEAR, nl=False)
        click.echo(summary(sight))
        if everything and sight.document is not None:
            click.echo(f"\n{status_view(sight.document)}", nl=False)
    sys.stdout.flush()
