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

from engine.config import load_settings
from engine.errors import NotReady
from frontend.cli.http_client import get_json_at
from frontend.cli.looking import look
from frontend.cli.printing import json_option, show
from frontend.cli.verdict import EngineState
from frontend.server.addresses import url_of

_TOKEN_FILE, _SOCKET = "admin.token", "status.sock"
_PAGE_FILE = "dashboard.html"
_TIMEOUT_S = 3.0


@click.command()
@click.option("--print", "only_print", is_flag=True, help="Print the address and open nothing.")
@json_option
def dashboard(only_print: bool, as_json: bool) -> None:
    """Open the page that shows what the engine does, with file names, last requests and errors.

    What it prints with --print is a secret: whoever has it can order the engine about.
    """
    runtime_dir = load_settings().runtime_dir
    url = _url(runtime_dir)
    if only_print or as_json:
        show({"url": url}, url, as_json=as_json)
    elif webbrowser.open(_page(Path(runtime_dir), url).as_uri()):
        click.echo(f"opened {url.partition('#')[0]} in a browser")
    else:
        raise NotReady("there is no browser here; the address: nightscan dashboard --print")


def _url(runtime_dir: str) -> str:
    """Of the port that this engine says it has: at that of the settings anybody may listen, and would get the token.

    Raises NotReady where no engine serves a page.
    """
    folder = Path(runtime_dir)
    try:
        token = (folder / _TOKEN_FILE).read_text(errors="replace").strip()
        owner_uid = (folder / _TOKEN_FILE).stat().st_uid
        document = get_json_at(str(folder / _SOCKET), "/status", owner_uid=owner_uid, timeout_s=_TIMEOUT_S)
    except (FileNotFoundError, NotADirectoryError, NotReady) as error:
        verdict = look(runtime_dir).verdict
        why = "it has no status server" if verdict.state is EngineState.HEALTHY else verdict.text
        raise NotReady(f"there is no page: {why}; see nightscan status") from error
    server = document["status_server"]
    if not server["address"]:
        why = server["trouble"] or "status_port=0"
        raise NotReady(f"{why}; the page is served at {_SOCKET} in {runtime_dir} alone; see nightscan config")
    host, _, port = str(server["address"]).rpartition(":")
    return f"{url_of(host.strip('[]'), int(port))}/#token={token}"


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
