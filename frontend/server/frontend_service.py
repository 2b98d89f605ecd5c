"""The frontends as a service: who holds their socket, and what the service manager hears of them."""

from __future__ import annotations

import os
import threading
from collections.abc import MutableMapping

from engine.config import Settings
from engine.launch import ServiceManager

_LOOK_EVERY_S = 0.5


class FrontendService:
    """Of one gunicorn master and its frontends, of which each may say that the service is ready."""

    def __init__(self) -> None:
        self._manager = ServiceManager()
        self.socket_is_held = False  # connections are taken, and wait, also while no frontend listens

    def begin(self, environment: MutableMapping[str, str]) -> None:
        """In the master, before it forks: finds out by `environment`, which names no manager afterwards.

        A master that was started by its predecessor (USR2) is no such case: that one's frontends serve meanwhile.
        """
        given = environment.get("LISTEN_PID") == str(os.getpid())
        self.socket_is_held = given and "GUNICORN_PID" not in environment
        self._manager = ServiceManager.taken_from(environment)

    def tell(self, settings: Settings) -> None:
        """In a frontend: says that it is ready once a deployment serves, and until then why not, in a thread."""
        if not self._manager.listens:
            return
        if not settings.enabled:
            self._manager.tell(ready=True, status="no engine is wanted: enabled=false")
            return
        threading.Thread(target=self._watch, args=(settings,), name="nightscan-service", daemon=True).start()

    def _watch(self, settings: Settings) -> None:
        from frontend.attach_wait import reason_for_waiting  # see `_serves`

        pause, told = threading.Event(), ""
        while not _serves(settings):
            reason = reason_for_waiting(settings.runtime_dir)
            if reason != told and self._manager.tell(status=f"waiting: {reason}"):
                told = reason
            pause.wait(_LOOK_EVERY_S)
        while not self._manager.tell(ready=True, status="ready; how it is now: nightscan status"):
            pause.wait(_LOOK_EVERY_S)


def _serves(settings: Settings) -> bool:
    from frontend.attach import attached_client  # in a frontend: the master has an engine to start first

    client = attached_client(settings)
    return client is not None and any(client.ready(name) for name in client.deployments())
