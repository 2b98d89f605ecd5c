"""One question to the supervisor from the command line: connect, ask, wait, hang up. Takes no lane and no torch."""

from __future__ import annotations

import os
import select
from contextlib import closing
from typing import Any

from engine.client.link import error_of
from engine.clock import Deadline
from engine.errors import DeadlineExceeded
from engine.messages import Connection, connect, process_start_ticks


def ask(runtime_dir: str, op: str, *, timeout_s: float, **fields: Any) -> dict[str, Any]:
    """The supervisor's answer to `op` (status, deploy, undeploy, scale, shutdown), its fields beside `ok`.

    Raises NotReady when no supervisor listens, DeadlineExceeded, PeerGone, or the error that the answer names.
    """
    deadline = Deadline.after_s(timeout_s)
    with closing(connect(runtime_dir)) as connection:
        _greet(connection)
        connection.send({"type": "request", "id": 1, "op": op, **fields})
        while (message := _next_message(connection, deadline))["type"] != "result":
            pass
    if not message.get("ok"):
        raise error_of(str(message.get("code", "")), str(message.get("error", "")))
    return {name: value for name, value in message.items() if name not in ("v", "type", "id", "ok")}


def _greet(connection: Connection) -> None:
    pidfd = os.pidfd_open(os.getpid())
    try:
        own = {"pid": os.getpid(), "start_ticks": process_start_ticks(os.getpid())}
        connection.send({"type": "hello", "role": "admin", **own, "holds": []}, [pidfd])
    finally:
        os.close(pidfd)


def _next_message(connection: Connection, deadline: Deadline) -> dict[str, Any]:
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN)
    while (received := connection.receive()) is None:
        if deadline.expired:
            raise DeadlineExceeded("the supervisor has not answered in time")
        poller.poll(deadline.remaining_s() * 1000)
    message, fds = received
    for fd in fds:
        os.close(fd)
    return message
