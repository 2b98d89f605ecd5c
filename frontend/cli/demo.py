"""`nightscan demo`: see the engine work without a recording, a model or a second terminal."""

from __future__ import annotations

import json
import os
import textwrap

import click

from engine.config import load_settings
from frontend.cli.command_end import CommandEnd
from frontend.cli.demo_parts import DemoPart, benchmark, parts
from frontend.cli.demo_server import demo_server
from frontend.cli.ending import end
from frontend.cli.printing import WIDTH, json_option
from frontend.cli.serve_command import serve_command
from frontend.cli.sounds import chirps

_MODES = ("demo", "benchmark", "server")


@click.command()
@click.option("--mode", type=click.Choice(_MODES), default="demo", show_default=True)
@click.option("--requests", type=click.IntRange(1, 100_000), default=100, show_default=True, help="Of the benchmark.")
@click.option("--concurrency", type=click.IntRange(1, 1024), default=10, show_default=True, help="Of the benchmark.")
@json_option
def demo(mode: str, requests: int, concurrency: int, as_json: bool) -> None:
    """See the engine at work, without a recording or a model: a server is started, and gone at the end.

    demo: one prediction, batches, pools, a benchmark, and the routes of the server. benchmark: that alone, as large as
    you like. server: the server itself, to try by hand until Ctrl-C.
    """
    settings = load_settings()
    if mode == "server":
        command = serve_command(settings)
        os.execv(command[0], command)
    click.echo("starting a server of its own ...", err=True)
    shown: list[DemoPart] = []
    with demo_server(settings, chirps()) as url:
        for part in parts(url) if mode == "demo" else [benchmark(url, requests, concurrency)]:
            shown.append(part)
            if not as_json:
                click.echo(f"{len(shown)}. {part.title}\n\n{_fitting(part.text)}\n" if mode == "demo" else part.text)
    if as_json:
        click.echo(json.dumps({part.name: part.data for part in shown}, indent=2))
    if any(part.data.get("others") for part in shown):
        end(CommandEnd.PARTLY)


def _fitting(text: str) -> str:
    return "\n".join(textwrap.fill(line, WIDTH) if len(line) > WIDTH else line for line in text.splitlines())
