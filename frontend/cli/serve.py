"""`nightscan serve`: this process becomes gunicorn's master."""

from __future__ import annotations

import os

import click

from engine.config import load_settings
from frontend.cli.serve_command import serve_command


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("app", required=False)
@click.argument("gunicorn_arguments", nargs=-1, type=click.UNPROCESSED)
def serve(app: str | None, gunicorn_arguments: tuple[str, ...]) -> None:
    """Serve over HTTP under gunicorn: our own application, or APP (package.module:app).

    What follows APP goes to gunicorn as it is. The engine starts with it, and leaves with it.
    """
    settings = load_settings()
    environment: dict[str, str] = {}
    if app is None:
        command = serve_command(settings, gunicorn_arguments)
    else:
        from frontend.cli.app_command import app_command  # Flask is for an application that has to be looked at

        environment, command = app_command(settings, app, gunicorn_arguments)
    os.execvpe(command[0], command, {**os.environ, **environment})
