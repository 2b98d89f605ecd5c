"""The group of all verbs: loads the one that is asked for and no other, so that help and completion come at once.

What a verb imports it may import at its top: torch, Flask and gunicorn are loaded with the verb that needs them, and
never for another.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from frontend.cli.ending import ended
from frontend.cli.runtime_dir import with_runtime_dir
from frontend.cli.verbs import Verb


class CommandLine(click.Group):
    """The verbs in their own order."""

    def __init__(self, verbs: Mapping[str, Verb], **attributes: Any) -> None:
        super().__init__(**attributes)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they are declared."""
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports its module. None for a name that is no verb."""
        verb = self._verbs.get(cmd_name)
        if verb is None:
            return None
        module = importlib.import_module(f"frontend.cli.{verb.module or cmd_name}")
        command = getattr(module, cmd_name)
        assert isinstance(command, click.Command)
        return with_runtime_dir(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Raises UsageError for a name that is no verb, with the one that was perhaps meant."""
        if args and args[0] not in self._verbs and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self._verbs, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(self._verbs)}"
            raise click.UsageError(f"no command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Every verb with its sentence, without loading it."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.text) for name, verb in self._verbs.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Verbs and our own options, without loading any verb."""
        verbs = [CompletionItem(name, help=verb.text) for name, verb in self._verbs.items()]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(item for item in verbs if item.value.startswith(incomplete)), *options]

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Ends the process with a code of `CommandEnd`; with `standalone_mode` off, returns or raises as click does."""
        name = prog_name or "nightscan"
        run = functools.partial(super().main, args, name, complete_var, standalone_mode=False, **extra)
        if not standalone_mode:
            return run()
        return sys.exit(ended(run, as_json="--json" in (sys.argv[1:] if args is None else args)))
