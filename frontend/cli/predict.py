"""`nightscan predict`: one recording to a running server."""

from __future__ import annotations

import click

from frontend.cli.http_client import own_url, post_file
from frontend.cli.printing import json_option, show
from frontend.cli.settings_here import settings_here
from frontend.cli.view import prediction_view


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True))
@click.option("--url", help="Server, as http://host:port; default: the one of the settings.")
@json_option
def predict(file: str, url: str | None, as_json: bool) -> None:
    """Send a recording to a running server and show the answer."""
    answer = post_file(url or own_url(settings_here()), file)
    show(answer, prediction_view(answer), as_json=as_json)
