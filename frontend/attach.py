"""The one engine client of this process.

Our own gunicorn worker calls `attach_now` before it accepts connections. Inside somebody else's server nobody calls it:
there the first request starts a keeper if none runs and attaches in a thread of its own, so that requests can be
answered by the fallback, or refused, meanwhile. A client is never carried over a fork: the child attaches anew.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from engine.client import EngineClient
from engine.clock import NS_PER_S, now_ns
from engine.config import Settings
from engine.errors import EngineError
from engine.launch import ensure_keeper

_LOG = logging.getLogger(__name__)
_RETRY_S = 5.0  # between attempts to attach that failed; arbitrary
_ATTEMPT_S = 120.0  # one attempt: a model's load and warm-up is part of it


class _Process:
    """What this process has. Sole mutators: the functions of this module, under `lock`."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.settled = threading.Event()  # an attempt has ended, well or not
        self.client: EngineClient | None = None
        self.attempt: threading.Thread | None = None
        self.retry_at_ns = 0


_process = _Process()


def _start_afresh() -> None:
    """In a forked child: the parent's client, lock and thread are not ours."""
    global _process
    _process = _Process()


os.register_at_fork(after_in_child=_start_afresh)


def attach_now(settings: Settings, on_wait: Callable[[], None] | None = None) -> EngineClient:
    """Attaches and waits for as long as it takes; `on_wait` is called at least every 0.5 s. Raises EngineError."""
    with _process.lock:
        if _process.client is None:
            _process.client = _attach(settings, None, on_wait)
        return _process.client


def current_client(settings: Settings, *, wait_s: float = 0.0) -> EngineClient | None:
    """The client, or None while there is none; the first call sets out to get one and waits up to `wait_s` seconds."""
    process = _process
    client = process.client
    if client is not None or not settings.enabled:
        return client
    with process.lock:
        if process.client is None and process.attempt is None and now_ns() >= process.retry_at_ns:
            process.settled.clear()
            process.attempt = threading.Thread(
                target=_attempt, args=(process, settings), name="nightscan-attach", daemon=True
            )
            process.attempt.start()
    process.settled.wait(wait_s)
    return process.client


def detach() -> None:
    """Closes the client, once an attempt under way has ended; the next request attaches anew."""
    process = _process
    if (attempt := process.attempt) is not None:
        attempt.join()
    with process.lock:
        client, process.client = process.client, None
    if client is not None:
        client.close()


def _attempt(process: _Process, settings: Settings) -> None:
    client = None
    try:
        client = _attach(settings, _ATTEMPT_S, None)
    except EngineError as error:
        _LOG.warning("not attached to the engine: %s", error)
    finally:
        with process.lock:
            process.client = client
            process.attempt = None
            process.retry_at_ns = now_ns() + int(_RETRY_S * NS_PER_S)
        process.settled.set()


def _attach(settings: Settings, wait_s: float | None, on_wait: Callable[[], None] | None) -> EngineClient:
    master_pid = _master_pid()
    return EngineClient.attach(
        runtime_dir=settings.runtime_dir,
        wait_s=wait_s,
        settings=settings,
        on_wait=on_wait,
        ensure=lambda: ensure_keeper(settings.runtime_dir, master_pid),
    )


def _master_pid() -> int:
    """Whose end is the engine's end: gunicorn's master, which outlives its workers, or else this process."""
    return os.getppid() if os.environ.get("SERVER_SOFTWARE", "").startswith("gunicorn/") else os.getpid()
