"""`nightscan predict`: one recording to a running server."""

from __future__ import annotations

import click

from engine.errors import BrokenError
from frontend.cli.http_client import answer_within_s, own_url, post_audio
from frontend.cli.printing import json_option, show
from frontend.cli.recordings import RECORDING, bytes_of
from frontend.cli.settings_here import settings_here
from frontend.cli.view import prediction_view


@click.command()
@click.argument("file", type=RECORDING)
@click.option("--url", help="Server, as http://host:port or https://host:port; default: the one of the settings.")
@json_option
def predict(file: str, url: str | None, as_json: bool) -> None:
    """Send a recording to a running server and show the answer."""
    settings = settings_here()
    url = url if url is not None else own_url(settings)
    answer = post_audio(url, bytes_of(file), timeout_s=answer_within_s(settings))
    if not {"top_predictions", "segments"} <= answer.keys():
        raise BrokenError(f"{url} answered something else than a prediction; is it a server of ours?")
    show(answer, prediction_view(answer), as_json=as_json)
