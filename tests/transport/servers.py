"""Servers of the small applications under our own worker class, without an engine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.support.server import ServerProcess, free_port

SETTING = "NIGHTSCAN_OPTIMIZED_SERVING__"
HOOKS = Path(__file__).with_name("hooks.py")


def small_server(app: str = "bridged", *arguments: str, **settings: object) -> ServerProcess:
    """`app` of `tests.transport.apps`. Capitals in `settings` are not needed: `header_timeout_s=1`."""
    port = free_port()
    environment: Mapping[str, str] = {f"{SETTING}{name.upper()}": str(value) for name, value in settings.items()}
    return ServerProcess(
        [
            *("-k", "frontend.server.worker.NightScanWorker", "-b", f"127.0.0.1:{port}", "--no-control-socket"),
            *("--graceful-timeout", "5", "--keep-alive", "75", "-c", str(HOOKS), *arguments),
            f"tests.transport.apps:{app}",
        ],
        environment=environment,
        port=port,
    )
