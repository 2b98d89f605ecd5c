"""`nightscan engine`: this process becomes the supervisor."""

from __future__ import annotations

import os
import sys

import click

from engine.config import load_settings
from engine.launch import prepare_runtime_dir, prepare_state_dir
from engine.stores.preconditions import check_store_addresses


@click.command()
def engine() -> None:
    """Run the engine alone, in the foreground, for a service manager: instances and their supervisor, no HTTP API."""
    settings = load_settings()
    check_store_addresses(settings)
    if settings.journal == "on":
        prepare_state_dir(settings)
    path = prepare_runtime_dir(settings.runtime_dir)
    os.execv(sys.executable, [sys.executable, "-m", "engine.supervisor", "--runtime-dir", str(path)])
