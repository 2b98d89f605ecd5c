"""`nightscan doctor`: what the engine needs and has, and what to do where that differs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from engine.config import Settings
from engine.errors import BrokenError
from engine.launch import supervisor_pid
from frontend.cli.bundle import write_bundle
from frontend.cli.check import Check
from frontend.cli.check_children import check_children
from frontend.cli.check_machine import (
    check_descriptors,
    check_disk,
    check_gpu,
    check_machine,
    check_memory,
    check_settings,
)
from frontend.cli.check_place import check_port, check_runtime_dir
from frontend.cli.check_view import check_view
from frontend.cli.command_end import CommandEnd
from frontend.cli.ending import end
from frontend.cli.looking import Sight, look
from frontend.cli.printing import json_option, show
from frontend.cli.settings_here import settings_here
from frontend.cli.verdict import EngineState

_NEW_FILE = click.Path(dir_okay=False, writable=True)


@click.command()
@click.option("--bundle", type=_NEW_FILE, metavar="FILE.tar.gz", help="Also write all that helps others to help.")
@click.option("--no-model", is_flag=True, help="Do not try whether the model loads, which takes memory and seconds.")
@json_option
def doctor(bundle: str | None, no_model: bool, as_json: bool) -> None:
    """Look at everything that the engine needs, and say what to do about what is not well.

    Nothing is changed. What this shell does not set is taken as the running engine has it. The model is loaded, and
    stores are tried, in processes of their own. Ends with 0 if all is well, 1 if something is not, 3 if no engine runs.
    """
    if bundle is not None and os.path.lexists(bundle):
        raise BrokenError(f"{bundle} is there already: name a new file")
    settings = settings_here()
    sight = look(settings.runtime_dir)
    checks = _checks(settings, sight, with_model=not no_model)
    code = _end(sight, checks)
    found = {**sight.to_json()["verdict"], "exit_code": int(code), "checks": [each.to_json() for each in checks]}
    text = check_view(sight, checks)
    if not as_json:
        click.echo(text)  # a disk that is full is among what it says
    if bundle is not None:
        write_bundle(Path(bundle), settings, sight, found, text)
        click.echo(f"wrote {bundle}, for you alone; look at it before you send it", err=True)
    if as_json:
        show(found, text, as_json=True)
    end(code)


def _checks(settings: Settings, sight: Sight, *, with_model: bool) -> list[Check]:
    document: dict[str, Any] | None = sight.document
    place = settings.runtime_dir
    pid = supervisor_pid(place)
    return [
        check_settings(settings),
        check_machine(pid),
        check_memory(settings, document),
        check_descriptors(settings, pid),
        check_runtime_dir(place),
        check_port("http", settings.bind_host, settings.port, place),
        check_port("status", settings.status_host, settings.status_port, place),
        check_disk(settings),
        check_gpu(settings),
        *check_children(settings, with_model=with_model),
    ]


def _end(sight: Sight, checks: list[Check]) -> CommandEnd:
    if sight.verdict.state is not EngineState.HEALTHY:
        return sight.verdict.state.end
    return CommandEnd.DONE if all(each.is_well for each in checks) else CommandEnd.PARTLY
