"""Where the engine's page is, or will be in a moment: told where a server starts, and only where one is served."""

from __future__ import annotations

import socket

from engine.config import Settings
from engine.errors import EngineError
from frontend.server.addresses import url_of

_ASK_S = 1.0  # an engine that runs answers within milliseconds


class PageAddress:
    """Made before the engine is started: a port that is free then will be the engine's."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._will_be_ours = bool(
            settings.enabled
            and settings.start_engine
            and settings.status_port
            and _is_free(settings.status_host, settings.status_port)
        )

    def url(self) -> str:
        """Empty where there is no page, or none at a port."""
        if self._will_be_ours:
            return f"{url_of(self._settings.status_host, self._settings.status_port)}/"
        address = _told(self._settings.runtime_dir) if self._settings.enabled else ""
        host, _, port = address.rpartition(":")
        return f"{url_of(host.strip('[]'), int(port))}/" if port else ""


def _told(runtime_dir: str) -> str:
    """Where an engine that runs already says that it listens."""
    from engine.client.admin import ask  # nothing but the engine's own start comes before that; see on_starting

    try:
        return str(ask(runtime_dir, "status", timeout_s=_ASK_S)["status_server"]["address"] or "")
    except (EngineError, OSError):
        return ""


def _is_free(host: str, port: int) -> bool:
    """Unless another process listens there, or the host is none of this machine."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        with socket.socket(found[0][0], socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[0][4])
    except (OSError, UnicodeError):
        return False
    return True
