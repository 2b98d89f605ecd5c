"""`--runtime-dir`, which may stand before the verb or behind it, and reaches every process that a command starts."""

from __future__ import annotations

import os

import click

from engine.config import declared

OPTION = "--runtime-dir"
_HELP = "Folder of the engine's control socket, in place of the setting of that name."


def runtime_dir_option() -> click.Option:
    """A new option, for one command."""
    return click.Option([OPTION], metavar="FOLDER", help=_HELP, expose_value=False, callback=_use)


def with_runtime_dir(command: click.Command) -> click.Command:
    """The command, and those below it, with the option."""
    if not any(OPTION in parameter.opts for parameter in command.params):
        command.params.append(runtime_dir_option())
    if isinstance(command, click.Group):
        for each in command.commands.values():
            with_runtime_dir(each)
    return command


def _use(ctx: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Puts it into the environment, where our settings and those of every child are read from."""
    if value is None:
        return
    (setting,) = (each for each in declared() if each.name == "runtime_dir")
    path = os.path.abspath(value)
    if not value or not setting.allows(path):  # "" would be the folder that we are in, of a variable that is not set
        raise click.BadParameter(f"{path if value else repr(value)}: must be {setting.bounds}", ctx, parameter)
    os.environ[setting.environment_variable] = path
