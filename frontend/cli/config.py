"""`nightscan config`: what is in force, and where each value came from."""

from __future__ import annotations

import dataclasses

import click

from engine.config import effective_settings, load_settings
from frontend.cli.printing import json_option, show
from frontend.cli.view import config_view


@click.command()
@json_option
def config(as_json: bool) -> None:
    """Print every setting with its value and where that came from, without credentials."""
    settings = effective_settings(load_settings())
    show([dataclasses.asdict(each) for each in settings], config_view(settings), as_json=as_json)
