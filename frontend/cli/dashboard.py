"""`nightscan dashboard`: the page of the status server, with the token that shows what not everybody may see.

A browser gets a file of ours and not the address: what stands in a command line all users of the machine can read. The
token is in the fragment, which no browser sends, and no proxy writes down.
"""

from __future__ import annotations

import html
import os
import webbrowser
from pathlib import Path

import click

from engine.config import Settings
from engine.errors import BrokenError, NotReady
from frontend.cli.http_client import status_of
from frontend.cli.looking import look
from frontend.cli.printing import json_option, show
from frontend.cli.settings_here import settings_here
from frontend.cli.verdict import EngineState
from frontend.server.addresses import url_of

_TOKEN_FILE = "admin.token"
_PAGE_FILE = "dashboard.html"
_TIMEOUT_S = 3.0


@click.command()
@click.option("--print", "only_print", is_flag=True, help="Print the address and open nothing.")
@json_option
def dashboard(only_print: bool, as_json: bool) -> None:
    """Open the page that shows what the engine does, with file names, last requests and errors.

    What it prints with --print is a secret: whoever has it can order the engine about.
    """
    settings = settings_here()
    url = _url(settings)
    if only_print or as_json:
        show({"url": url}, url, as_json=as_json)
    elif webbrowser.open(_page(Path(settings.runtime_dir), url).as_uri()):
        click.echo(f"opened {url.partition('#')[0]} in a browser")
    else:
        raise NotReady("there is no browser here; the address: nightscan dashboard --print")


def _url(settings: Settings) -> str:
    """Raises NotReady where no engine serves a page, BrokenError where another one does."""
    if not settings.status_port:
        raise NotReady("status_port=0: the page is served at status.sock in runtime_dir alone; see nightscan config")
    token = _token(Path(settings.runtime_dir) / _TOKEN_FILE)
    base = url_of(settings.status_host, settings.status_port)
    status = status_of(f"{base}/requests", token, timeout_s=_TIMEOUT_S)
    if status == 401:
        raise BrokenError(f"{base} is the page of another engine, whose runtime_dir is not {settings.runtime_dir}")
    return f"{base}/#token={token}"


def _token(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError as error:
        verdict = look(str(path.parent)).verdict
        why = "it has no status server" if verdict.state is EngineState.HEALTHY else verdict.text
        raise NotReady(f"there is no {path}: {why}; see nightscan status") from error


def _page(folder: Path, url: str) -> Path:
    """A page for this user alone that leads to `url`."""
    path = folder / _PAGE_FILE
    lead = f'<meta http-equiv="refresh" content="0; url={html.escape(url)}">'
    content = f"<!doctype html>{lead}<title>NightScan</title>\n"
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(content)
    fresh.rename(path)
    return path
