"""What this process has asked the supervisor and waits to be told."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from engine.control.link import ControlLink
from engine.errors import EngineError, error_of


class Questions:
    """Asked from every thread; answered, or given up, in the thread that reads the link."""

    def __init__(self, link: ControlLink) -> None:
        self._link = link
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._open: dict[int, Future[dict[str, Any]]] = {}  # changed under the lock

    def ask(self, op: str, fields: dict[str, Any], fds: Sequence[int] = ()) -> Future[dict[str, Any]]:
        """The future gets the result, or the error that the supervisor names, or what `give_up` is told.

        Raises NotReady without a connection, PeerGone when it has just broken.
        """
        future: Future[dict[str, Any]] = Future()
        number = next(self._numbers)
        with self._lock:
            self._open[number] = future
        try:
            self._link.send({"type": "request", "id": number, "op": op, **fields}, fds)
        except EngineError:
            with self._lock:
                self._open.pop(number, None)
            raise
        return future

    def answered(self, message: dict[str, Any]) -> None:
        """A `result` of the supervisor."""
        with self._lock:
            future = self._open.pop(int(message.get("id", 0)), None)
        if future is None or not future.set_running_or_notify_cancel():
            return  # asked before, and given up on
        if message.get("ok"):
            future.set_result(message)
        else:
            future.set_exception(error_of(str(message.get("code", "")), str(message.get("error", ""))))

    def give_up(self, error: EngineError) -> None:
        """The connection is gone: whoever waits gets `error`."""
        with self._lock:
            given_up, self._open = self._open, {}
        for future in given_up.values():
            if future.set_running_or_notify_cancel():
                future.set_exception(error)

    def let_go_in_child(self) -> None:
        """In a forked child: those who wait are threads of the parent."""
        self._lock = threading.Lock()
        self._open = {}
