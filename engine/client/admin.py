"""One question to the supervisor from the command line: connect, ask, wait, hang up. Takes no lane and no torch."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from engine.clock import Deadline
from engine.control.link import ControlLink
from engine.errors import error_of


def ask(runtime_dir: str, op: str, *, timeout_s: float, **fields: Any) -> dict[str, Any]:
    """The supervisor's answer to `op` (status, deploy, undeploy, scale, drain, shutdown), its fields beside `ok`.

    Raises NotReady when no supervisor listens, DeadlineExceeded, PeerGone, or the error that the answer names.
    """
    deadline = Deadline.after_s(timeout_s)
    link = ControlLink(runtime_dir, role="admin")
    with contextlib.ExitStack() as stack:
        stack.callback(link.close)
        link.open()
        link.send({"type": "request", "id": 1, "op": op, **fields})
        while (message := _next_message(link, deadline))["type"] != "result":
            pass
    if not message.get("ok"):
        raise error_of(str(message.get("code", "")), str(message.get("error", "")))
    return {name: value for name, value in message.items() if name not in ("v", "type", "id", "ok")}


def _next_message(link: ControlLink, deadline: Deadline) -> dict[str, Any]:
    message, fds = link.next_message(deadline)
    for fd in fds:
        os.close(fd)
    return message
