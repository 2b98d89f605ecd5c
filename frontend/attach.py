"""The engine clients of this process: one for each runtime directory, which is one for nearly everybody.

Our own gunicorn worker calls `attach_now` before it accepts connections. Inside somebody else's server nobody calls it:
there the first request starts a keeper if none runs and attaches in a thread of its own, so that requests can be
answered by the fallback, or refused, meanwhile. A client is never carried over a fork: the child attaches anew, and
what it has inherited it leaves alone.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator

from engine.client import EngineClient
from engine.clock import NS_PER_S, now_ns
from engine.config import Settings
from engine.errors import EngineClosed, EngineError, NotReady
from engine.launch import ensure_keeper, register_user
from engine.stores.process_stores import ProcessStores
from frontend.attach_wait import AttachWait, reason_for_waiting
from frontend.host_server import server_pid

# How long a request may wait for an attempt to attach. All of them a moment, which is enough where the engine is up;
# one at a time for long: a start takes seconds, and a host whose threads all wait serves none of its own pages.
SHORT_WAIT_S = 0.25
LONG_WAIT_S = 10.0

_LOG = logging.getLogger(__name__)
_RETRY_S = 5.0  # between attempts to attach that failed; arbitrary
_ATTEMPT_S = 120.0  # one attempt: a model's load and warm-up is part of it


class _OwnStores:
    """The stores of this process for one engine: opened when they are first asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.opened: ProcessStores | None = None  # changed under the lock, as is the next one
        self._client: EngineClient | None = None  # knows of the machine segment

    def get(self, settings: Settings) -> ProcessStores:
        """`settings` count for whoever asks first. Raises ConfigError."""
        with self._lock:
            if self.opened is None:
                opened = ProcessStores.open(settings)
                if self._client is not None:
                    self._client.machines.follow(opened.meet)
                self.opened = opened
            return self.opened

    def follow(self, client: EngineClient | None) -> None:
        """They meet the machine that `client` is attached to; None: it is closed."""
        with self._lock:
            self._client = client
            if client is not None and self.opened is not None:
                client.machines.follow(self.opened.meet)

    def close(self) -> None:
        """Whoever asks again gets new ones."""
        with self._lock:
            opened, self.opened = self.opened, None
        if opened is not None:
            opened.close()


class _Engine:
    """One engine as this process sees it. Sole mutators: the functions of this module, under `lock`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.own = _OwnStores()
        self.lock = threading.Lock()
        self.settled = threading.Event()  # an attempt has ended, well or not
        self.long_wait = threading.Lock()  # held by the one request that waits for long
        self.client: EngineClient | None = None
        self.attempt: threading.Thread | None = None
        self.began_at_ns = 0
        self.retry_at_ns = 0
        self.unwanted = False  # an attempt under way ends, however long it was to last
        self.waited_out = False  # this process has waited as long as it was allowed to: its requests wait no more

    def set_out(self) -> None:
        """Begins an attempt, unless one is under way or has just failed."""
        with self.lock:
            if self.client is None and self.attempt is None and now_ns() >= self.retry_at_ns:
                self.settled.clear()
                self.began_at_ns = now_ns()
                self.attempt = threading.Thread(target=_attempt, args=(self,), name="nightscan-attach", daemon=True)
                self.attempt.start()

    def check_wanted(self) -> None:
        """Raises EngineClosed once this process is about to let go."""
        if self.unwanted:
            raise EngineClosed("nobody waits for the engine any more")

    def await_attempt(self, wait_s: float) -> None:
        """Waits for the attempt under way: a moment after its begin, or as the one that may wait longer."""
        left_s = SHORT_WAIT_S - (now_ns() - self.began_at_ns) / NS_PER_S
        if self.settled.wait(max(0.0, min(wait_s, left_s))) or wait_s <= SHORT_WAIT_S:
            return
        if self.long_wait.acquire(blocking=False):
            try:
                self.settled.wait(wait_s)
            finally:
                self.long_wait.release()


_engines: dict[str, _Engine] = {}
_engines_lock = threading.Lock()
_stand_in: EngineClient | None = None
_stand_in_stores = _OwnStores()


def _start_afresh() -> None:
    """In a forked child: the parent's clients, locks and threads are not ours."""
    global _engines, _engines_lock, _stand_in_stores
    _engines, _engines_lock, _stand_in_stores = {}, threading.Lock(), _OwnStores()


os.register_at_fork(after_in_child=_start_afresh)


def attach_now(
    settings: Settings, on_wait: Callable[[], None] | None = None, *, wait_s: float | None = None
) -> EngineClient:
    """Attaches and waits for as long as it takes; `on_wait` is called at least every 0.5 s. Raises EngineError.

    `wait_s`: NotReady after so many seconds; then it is tried on in a thread, and meanwhile no request waits for that.
    """
    engine = _engine_of(settings)
    try:
        with engine.lock:
            if engine.client is None:
                engine.client = _attach(engine, wait_s, on_wait)
            return engine.client
    except NotReady:
        engine.waited_out = True
        engine.set_out()
        raise


def current_client(settings: Settings, *, wait_s: float = 0.0) -> EngineClient | None:
    """The client, or None while there is none; the first call sets out to get one and may wait up to `wait_s` seconds.

    More than SHORT_WAIT_S only one thread of the process waits at a time; the others get None.
    """
    if _stand_in is not None:
        return _stand_in
    engine = _engines.get(settings.runtime_dir) or _engine_of(settings)
    client = engine.client
    if client is not None or not settings.enabled:
        return client
    engine.set_out()
    if wait_s > 0 and not engine.waited_out:
        engine.await_attempt(wait_s)
    return engine.client


def attached_client(settings: Settings) -> EngineClient | None:
    """The client that there is; to ask for it sets out for none."""
    engine = _engines.get(settings.runtime_dir)
    return engine.client if engine is not None else None


def current_stores(settings: Settings) -> ProcessStores:
    """What this process has of stores, whether or not an engine is there. Raises ConfigError for wrong settings."""
    if _stand_in is not None:
        # The tests of an application leave nothing behind.
        return _stand_in_stores.opened or _stand_in_stores.get(settings.changed(journal="off", redis_url=""))
    own = (_engines.get(settings.runtime_dir) or _engine_of(settings)).own
    return own.opened or own.get(settings)


def close_stores() -> None:
    """Closes all stores and leaves the clients as they are; whoever asks for stores opens them anew."""
    for engine in list(_engines.values()):
        engine.own.close()


def detach() -> None:
    """Closes every client and all stores, and ends attempts under way; the next request begins anew."""
    for engine in list(_engines.values()):
        if (attempt := engine.attempt) is not None:
            engine.unwanted = True
            attempt.join()
            engine.unwanted = False
        with engine.lock:
            client, engine.client = engine.client, None
        engine.own.follow(None)
        if client is not None:
            client.close()
        engine.own.close()  # last: a server that is frozen must not keep the lanes


@contextlib.contextmanager
def in_place_of_engines(client: EngineClient) -> Iterator[None]:
    """Inside, `client` answers for every engine in this process; for tests of an application."""
    global _stand_in, _stand_in_stores
    before, _stand_in = _stand_in, client
    stores_before, _stand_in_stores = _stand_in_stores, _OwnStores()
    try:
        yield
    finally:
        _stand_in_stores.close()
        _stand_in, _stand_in_stores = before, stores_before


def _engine_of(settings: Settings) -> _Engine:
    with _engines_lock:
        return _engines.setdefault(settings.runtime_dir, _Engine(settings))


def _attempt(engine: _Engine) -> None:
    client = None
    try:
        client = _attach(engine, None if engine.waited_out else _ATTEMPT_S, engine.check_wanted)
    except EngineError as error:
        _LOG.warning("not attached to the engine (%s): %s", error, reason_for_waiting(engine.settings.runtime_dir))
    finally:
        with engine.lock:
            engine.client = client
            engine.attempt = None
            engine.retry_at_ns = 0 if client is not None else now_ns() + int(_RETRY_S * NS_PER_S)
        engine.settled.set()


def _attach(engine: _Engine, wait_s: float | None, on_wait: Callable[[], None] | None) -> EngineClient:
    settings, master_pid = engine.settings, server_pid()
    stores = engine.own.get(settings)  # so that servers are being connected to meanwhile
    runtime_dir, environment = settings.runtime_dir, settings.to_environment()
    register_user(runtime_dir, master_pid)
    client = EngineClient.attach(
        runtime_dir=runtime_dir,
        wait_s=wait_s,
        settings=settings,
        on_wait=AttachWait(runtime_dir, on_wait),
        ensure=(lambda: ensure_keeper(runtime_dir, master_pid, environment)) if settings.start_engine else None,
        # Not only once there is a lane: what is answered before that is counted, too.
        on_machine=stores.meet,
    )
    engine.own.follow(client)
    return client
