"""One frontend as the supervisor knows it: a process, a connection while there is one, and what it has been told."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

from engine.launch.identity import Identity
from engine.supervisor.loop import Loop
from engine.supervisor.peer import Peer


_log = logging.getLogger(__name__)


class Frontend:
    """One client in one process; a process may have several, each with lanes of its own.

    Owns its pidfd. Without a peer it is somebody who lives and has not come back yet: its lanes stay its own.
    """

    def __init__(self, *, identity: Identity, pidfd: int, peer: Peer | None) -> None:
        self.identity = identity
        self.pidfd = pidfd
        self.peer = peer
        self.welcomed = False

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> bool:
        """Nothing happens while it is not connected. False if it was disconnected because `fds` could not be queued.

        It then comes again, and is told of everything anew.
        """
        if self.peer is None:
            return True
        try:
            self.peer.send(message, fds)
        except OSError as error:
            _log.error("pid %d cannot be told %s (%s); disconnected", self.identity.pid, message["type"], error)
            self.peer.close()
            return False
        return True

    def close(self) -> None:
        """Lets go of its pidfd and its connection. Idempotent."""
        pidfd, self.pidfd = self.pidfd, -1
        if pidfd >= 0:
            os.close(pidfd)
        if self.peer is not None:
            self.peer.close()

    @property
    def connected(self) -> bool:
        return self.peer is not None and self.peer.open


class Frontends:
    """All frontends that live. `on_death` is called once for each, after its pidfd said so."""

    def __init__(self, loop: Loop, on_death: Callable[[Frontend], None]) -> None:
        self._loop = loop
        self._on_death = on_death
        self._all: dict[int, Frontend] = {}  # by pidfd

    def add(self, frontend: Frontend) -> Frontend:
        """From here on its death is noticed. Raises OSError, and then it is closed."""
        try:
            self._loop.watch(frontend.pidfd, functools.partial(self._died, frontend))
        except OSError:
            frontend.close()
            raise
        self._all[frontend.pidfd] = frontend
        return frontend

    def drop(self, frontend: Frontend) -> None:
        """It owns nothing and waits for nothing any more. Idempotent."""
        if self._all.get(frontend.pidfd) is frontend:
            del self._all[frontend.pidfd]
            self._loop.unwatch(frontend.pidfd)
            frontend.close()

    def all(self) -> list[Frontend]:
        """Everybody that lives, connected or not, in order of arrival."""
        return list(self._all.values())

    def tell(self, message: dict[str, Any]) -> None:
        """Sends to everybody that is connected."""
        for frontend in self.all():
            frontend.send(message)

    def _died(self, frontend: Frontend) -> None:
        """Watched until all is done, so that what fails is done again."""
        self._all.pop(frontend.pidfd, None)
        self._on_death(frontend)
        self._loop.unwatch(frontend.pidfd)
        frontend.close()
