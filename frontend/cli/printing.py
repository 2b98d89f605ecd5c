"""What commands print: text for people, or with `--json` one JSON document for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from typing import Any, TypeVar

import click

WIDTH, LINES = 80, 24  # the terminal that everything fits

Decorated = TypeVar("Decorated", bound=Callable[..., None])


def json_option(command: Decorated) -> Decorated:
    """Adds `--json`, which the function gets as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="As JSON, for programs.")(command)


def show(document: Any, text: str, *, as_json: bool) -> None:
    """Prints one of them, with one newline at its end. JSON in ASCII, which every terminal has."""
    click.echo(json.dumps(document, indent=2) if as_json else text.rstrip("\n"))


def one_line(text: str) -> str:
    """What others said, without what would move a terminal's cursor."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())


def wrapped(text: str, lead: str, *, most: int) -> list[str]:
    """At most so many lines, the first behind `lead`, the others below its text."""
    return textwrap.wrap(
        one_line(text), WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead),
        max_lines=most, placeholder=" ...", break_on_hyphens=False,
    )  # fmt: skip
