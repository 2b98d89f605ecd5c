"""Says why a process that wants to serve still waits: whether a model loads or lanes lack need not be guessed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

from engine.client.admin import ask
from engine.clock import NS_PER_S, Deadline, now_ns
from engine.errors import EngineError

_LOG = logging.getLogger(__name__)
_TELL_EVERY_S = 10.0
_ASK_S = 1.0  # a supervisor that is busy is asked again at the next time


class AttachWait:
    """Called while a client waits for its lanes; tells the log from time to time."""

    def __init__(
        self, runtime_dir: str, also: Callable[[], None] | None = None, *, every_s: float = _TELL_EVERY_S
    ) -> None:
        """`also` is called each time, before anything else."""
        self._runtime_dir = runtime_dir
        self._also = also
        self._every_s = every_s
        self._began_at_ns = now_ns()
        self._next = Deadline.after_s(every_s)

    def __call__(self) -> None:
        if self._also is not None:
            self._also()
        if self._next.expired:
            self._next = Deadline.after_s(self._every_s)
            waited_s = (now_ns() - self._began_at_ns) / NS_PER_S
            _LOG.warning("not attached after %.0f s: %s", waited_s, reason_for_waiting(self._runtime_dir))


def reason_for_waiting(runtime_dir: str) -> str:
    """What the engine says of itself, in one line. Waits a second at most."""
    try:
        status = ask(runtime_dir, "status", timeout_s=_ASK_S)
    except EngineError as error:
        return f"no answer from the engine in {runtime_dir} ({error})"
    lacking = [text for deployment in status["deployments"] for text in lacking_lanes(deployment)]
    states = [_state(each) for each in status["deployments"]]
    return "; ".join(lacking or states) or "the engine has no deployment"


def _state(deployment: dict[str, Any]) -> str:
    told = f"{deployment['deployment']} is {deployment['state']}"
    lines = deployment["reason"].strip().splitlines()
    return f"{told} ({lines[-1]})" if lines else told  # the last line of a traceback says what it was


def lacking_lanes(deployment: dict[str, Any]) -> Iterator[str]:
    """By a deployment's part of the status: which of its versions has no lane left for those who wait for one."""
    for version in deployment["versions"]:
        lanes = version["lanes"]
        if lanes is not None and lanes["waiting"] and not lanes["free"]:
            yield (
                f"all {lanes['total']} lanes of {deployment['deployment']} are taken and {lanes['waiting']} more wait "
                "for one: end a process that uses the engine, or start the engine with a larger `workers`"
            )
