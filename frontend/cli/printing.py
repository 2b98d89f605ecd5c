"""What commands print: text for people, or with `--json` one JSON document for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

WIDTH, LINES = 80, 24  # the terminal that everything fits

Decorated = TypeVar("Decorated", bound=Callable[..., None])


def json_option(command: Decorated) -> Decorated:
    """Adds `--json`, which the function gets as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")(command)


def show(document: Any, text: str, *, as_json: bool) -> None:
    """Prints one of them, with one newline at its end."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False) if as_json else text.rstrip("\n"))
