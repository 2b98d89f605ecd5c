"""Every gunicorn setting and hook of a NightScan server, in one place.

    gunicorn -c python:frontend.server.gunicorn_config [APP]

Names in lower case are gunicorn's own. In the master: look at the platform and the port, start the keeper, say where to
send a recording; it never imports torch and never attaches. In each frontend: attach before the first connection is
accepted, let go at the end.
"""

from __future__ import annotations

import errno
import importlib
import logging
import os
import socket
import sys
import threading
from typing import Any

from engine.config import load_settings
from engine.errors import ConfigError, EngineError
from engine.launch import check_platform, prepare_state_dir, start_keeper, stop_keeper
from engine.stores.preconditions import check_store_addresses
from frontend.server.banner import banner
from frontend.server.frontend_service import FrontendService
from frontend.server.page_address import PageAddress
from frontend.server.quick_exit import skip_teardown
from frontend.server.trusted_proxies import FORWARDED_ALLOW_IPS, trust

_STOP_ENGINE_S = 3.0  # for the keeper to end the engine; when it is over, the keeper goes on by itself
_DETACH_S = 0.2
_BELT_S = 1  # the master kills this long after a frontend should have left by itself

_LOG = logging.getLogger(__name__)
_SERVICE = FrontendService()  # changed in the master, before it forks
_PAGE: list[PageAddress] = []  # one, made in the master

try:
    _SETTINGS = load_settings()
except ConfigError as _error:
    sys.exit(f"nightscan: {_error}")

bind = f"[{_SETTINGS.bind_host}]:{_SETTINGS.port}" if ":" in _SETTINGS.bind_host else (
    f"{_SETTINGS.bind_host}:{_SETTINGS.port}"
)  # fmt: skip
wsgi_app = "frontend.app:served_app()"  # where none is named
workers = _SETTINGS.workers
logger_class = "frontend.server.gunicorn_log.GunicornLog"
loglevel = _SETTINGS.log_level
worker_class = "frontend.server.worker.NightScanWorker"
threads = _SETTINGS.worker_threads  # for gthread, where the lane is off
keepalive = _SETTINGS.keepalive_s
graceful_timeout = int(_SETTINGS.graceful_timeout_s) + _BELT_S
max_requests = _SETTINGS.max_requests
max_requests_jitter = _SETTINGS.max_requests // 10  # not all frontends at the same moment
forwarded_allow_ips = FORWARDED_ALLOW_IPS
limit_request_fields = 100
limit_request_field_size = 65_535
control_socket_disable = True
proc_name = "nightscan"
preload_app = False  # a client of the engine, its threads and its lease must not cross a fork


def on_starting(server: Any) -> None:
    """Before anything listens: refuse by name what cannot work, then start the engine."""
    _SERVICE.begin(os.environ)
    try:
        check_platform()
        if not _sockets_are_given():
            for address in server.cfg.address:
                _refuse_taken(address)
        check_store_addresses(_SETTINGS)
        if _SETTINGS.journal == "on":
            prepare_state_dir(_SETTINGS)
        _PAGE.append(PageAddress(_SETTINGS))
        if _SETTINGS.enabled and _SETTINGS.start_engine:
            start_keeper(_SETTINGS.runtime_dir, os.getpid())
    except EngineError as error:
        sys.exit(f"nightscan: {error}")
    # Not before: the engine takes longest to start. Not in each frontend: what is imported here they all share.
    importlib.import_module("frontend.attach")


def when_ready(server: Any) -> None:
    """The sockets listen: say where to send a recording and where to look."""
    addresses = [listener.sock.getsockname() for listener in server.LISTENERS]
    sys.stderr.write(banner(_SETTINGS, addresses, _PAGE[0].url(), colour=sys.stderr.isatty()))
    sys.stderr.flush()


def post_worker_init(worker: Any) -> None:
    """A frontend without a lane does not listen: attach first, however long the model takes to load.

    But where somebody else holds the socket, who waits there would wait for as long without a word.
    """
    trust(worker.cfg.forwarded_allow_ips)
    _SERVICE.tell(_SETTINGS)
    if not _SETTINGS.enabled:
        return
    from frontend.attach import attach_now  # on_starting says why not above

    wait_s = _SETTINGS.attach_s if _SERVICE.socket_is_held else None
    try:
        attach_now(_SETTINGS, on_wait=getattr(worker, "beat", worker.notify), wait_s=wait_s)
    except EngineError as error:
        _LOG.error("this frontend serves without the engine: %s", error)


def worker_exit(server: Any, worker: Any) -> None:
    """Gives the lane back. Slots in which a model computes for nobody are left to the supervisor."""
    from frontend.attach import detach  # on_starting says why not above

    leaving = threading.Thread(target=detach, name="detach", daemon=True)
    leaving.start()
    leaving.join(_DETACH_S)


def on_exit(server: Any) -> None:
    """Last of all, in the master: the engine goes with it."""
    if _SETTINGS.enabled:
        stop_keeper(_SETTINGS.runtime_dir, _STOP_ENGINE_S)
    # gunicorn calls this while it handles what ended it; a failed start carries its exit status.
    skip_teardown(int(getattr(sys.exc_info()[1], "exit_status", 0)))


def _sockets_are_given() -> bool:
    """By systemd, or by the master that this one replaces."""
    return os.environ.get("LISTEN_PID") == str(os.getpid()) or "GUNICORN_FD" in os.environ


def _refuse_taken(address: Any) -> None:
    if not isinstance(address, tuple) or address[1] == 0:
        return
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ConfigError(
                    f"{address[0]}:{address[1]} is in use by another program; stop it, or set "
                    "NIGHTSCAN_OPTIMIZED_SERVING__PORT to a free port"
                ) from error
            raise ConfigError(f"cannot listen on {address[0]}:{address[1]}: {error.strerror}") from error
