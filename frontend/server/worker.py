"""The gunicorn worker class: an ASGI application on uvloop and httptools.

    gunicorn -k frontend.server.worker.NightScanWorker package.module:asgi_application

It neither loses a request on HUP, QUIT or `max_requests`, nor waits long for half-sent bodies, nor outlives a killed
master: see `DrainingServer` and `NightScanProtocol`. Of gunicorn it needs no more than `workers.base.Worker`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from types import FrameType
from typing import Any

import uvloop
from gunicorn import sock
from gunicorn.arbiter import Arbiter
from gunicorn.workers.base import Worker

from engine.config import load_settings
from frontend.server.crowd import Crowd
from frontend.server.draining_server import LEAVING_SIGNALS, DrainingServer
from frontend.server.gunicorn_log import GunicornLog
from frontend.server.heap import give_memory_back, settle
from frontend.server.quick_exit import skip_teardown
from frontend.server.server_log import ACCESS_LOG, SERVER_LOG
from frontend.server.transport_limits import TransportLimits
from frontend.server.transport_state import TransportState
from frontend.server.trusted_proxies import TrustedProxies

_CROWD = Crowd()  # made where gunicorn imports the worker class: in the master, before it forks
_CANCEL_S = 0.05  # for cancelled tasks to notice; arbitrary
_LAST_WORDS_S = 0.4  # for hooks and the interpreter to end, once the server has


class NightScanWorker(Worker):  # type: ignore[misc]
    """One frontend process on an event loop."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.limits = self._limits()
        if not (isinstance(self.log, GunicornLog) and self.log.is_ours):
            _write_to(SERVER_LOG, self.log.error_log)
            _write_to(ACCESS_LOG, self.log.access_log)

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
        # Not the base class's: its handlers end a process between two bytecodes, and its wake-up pipe is the loop's.
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, self.handle_usr1)
        signal.siginterrupt(signal.SIGUSR1, False)
        for number in LEAVING_SIGNALS:
            signal.signal(number, self._leave_at_once)
        if isinstance(arbiter, Arbiter) and _was_told_to_leave(arbiter):
            sys.exit(0)

    def _leave_at_once(self, number: int, frame: FrameType | None) -> None:
        sys.exit(0)

    def run(self) -> None:
        """Serves until the end. Raises SystemExit."""
        give_memory_back()
        settle()
        loop = uvloop.new_event_loop()
        try:
            loop.run_until_complete(self._serve(loop))
            skip_teardown(0)
        finally:
            _end_loop(loop)
            # A thread that hangs (a view, a library's pool) must not keep the process: the default action of SIGALRM
            # ends it whatever its threads do.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, _LAST_WORDS_S)

    async def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        proxies = TrustedProxies(self.cfg.forwarded_allow_ips)
        server = DrainingServer(
            TransportState(self.wsgi, loop=loop, limits=self.limits, trusted_proxies=proxies),
            beat=self.notify,
            orphaned=self.is_orphan,
            crowd=_CROWD,
            number=self.age,
            max_requests=self.max_requests,
            tls=sock.ssl_context(self.cfg) if self.cfg.is_ssl else None,
        )
        listeners = [getattr(listener, "sock", listener) for listener in self.sockets]  # gunicorn wraps them
        if not await server.serve(listeners):
            sys.exit(Arbiter.WORKER_BOOT_ERROR)


def _write_to(log: logging.Logger, target: logging.Logger) -> None:
    log.handlers = target.handlers
    log.setLevel(target.level)
    log.propagate = False


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
