"""The gunicorn worker class: uvicorn on uvloop and httptools, which neither loses a request nor outlives its master.

    gunicorn -k frontend.worker.NightScanWorker package.module:asgi_application

The base class loses requests on HUP and `max_requests`, ignores QUIT, waits long for half-sent bodies, never runs
`worker_exit`, and outlives a killed master holding the port; `DrainingServer` and `NightScanProtocol` do better.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from types import FrameType
from typing import Any

from gunicorn.arbiter import Arbiter
from uvicorn_worker import UvicornWorker

from engine.config import load_settings
from frontend.crowd import Crowd
from frontend.draining_server import LEAVING_SIGNALS, DrainingServer
from frontend.http_protocol import NightScanProtocol
from frontend.quick_exit import skip_teardown
from frontend.transport_limits import TransportLimits
from frontend.trusted_proxies import TrustedProxies

_CROWD = Crowd()  # made where gunicorn imports the worker class: in the master, before it forks
_CANCEL_S = 0.05  # for cancelled tasks to notice; arbitrary
_LAST_WORDS_S = 0.4  # for hooks and the interpreter to end, once the server has


class NightScanWorker(UvicornWorker):  # type: ignore[misc]
    """One frontend process on an event loop."""

    CONFIG_KWARGS = {
        "loop": "uvloop",
        "ws": "none",
        "interface": "asgi3",
        "proxy_headers": False,  # the protocol does it: a middleware costs every request
        "server_header": False,
        "timeout_graceful_shutdown": None,
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.limits = self._limits()
        self.config.http = type(
            "BoundedProtocol",
            (NightScanProtocol,),
            {"limits": self.limits, "trusted_proxies": TrustedProxies(self.cfg.forwarded_allow_ips)},
        )

    def _limits(self) -> TransportLimits:
        limits = TransportLimits.from_settings(load_settings())
        changes: dict[str, float] = {"keepalive_s": float(self.cfg.keepalive)}
        if self.cfg.graceful_timeout <= limits.graceful_timeout_s:
            # The master kills at its own time-out; the last answers must be out before.
            changes["graceful_timeout_s"] = self.cfg.graceful_timeout * 0.9
        return limits.changed(**changes)

    def is_orphan(self) -> bool:
        """Whether the master that started this worker is gone."""
        return os.getppid() != int(self.ppid)

    def beat(self) -> None:
        """Tells the master that this worker lives. Raises SystemExit when there is no master to tell.

        For loops that wait before the server runs.
        """
        if self.is_orphan():
            sys.exit(0)
        self.notify()

    def init_signals(self) -> None:
        """Until the server runs there is nothing to drain: leave at once, but through gunicorn's exit hooks."""
        arbiter = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
        super().init_signals()
        for number in LEAVING_SIGNALS:
            signal.signal(number, self._leave_at_once)
        if isinstance(arbiter, Arbiter) and _was_told_to_leave(arbiter):
            sys.exit(0)

    def _leave_at_once(self, number: int, frame: FrameType | None) -> None:
        sys.exit(0)

    def run(self) -> None:
        """Serves until the end. Raises SystemExit."""
        loop_factory = self.config.get_loop_factory()
        assert loop_factory is not None
        loop = loop_factory()
        try:
            loop.run_until_complete(self._serve())
            skip_teardown(0)
        finally:
            _end_loop(loop)
            # A thread that hangs (a view, a library's pool) must not keep the process: the default action of SIGALRM
            # ends it whatever its threads do.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, _LAST_WORDS_S)

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        server = DrainingServer(
            self.config,
            limits=self.limits,
            beat=self.notify,
            orphaned=self.is_orphan,
            crowd=_CROWD,
            number=self.age,
        )
        await server.serve(sockets=self.sockets)
        if not server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)


def _was_told_to_leave(arbiter: Arbiter) -> bool:
    # Between fork and here the master's handler was still in place and put signals into this process's copy of the
    # master's queue, where nobody would ever look.
    leaving = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
    told = False
    while not arbiter.SIG_QUEUE.empty():
        told = arbiter.SIG_QUEUE.get_nowait() in leaving or told
    return told


def _end_loop(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_until_complete(_cancel_everything())
    loop.close()


async def _cancel_everything() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=_CANCEL_S)
