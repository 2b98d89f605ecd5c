"""Orders from the command line, managers and the status server: checked, given to the deployments, answered once.

Same user only (the socket sees to that). A factory that comes with `deploy` is stored and handed to instances as bytes.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import (
    EngineError,
    InternalError,
    InvalidField,
    ProtocolError,
    StateNotWritten,
)
from engine.spec import ModelSource, ModelSpec
from engine.supervisor.deployments import Deployments
from engine.supervisor.guard import Guard, caught
from engine.supervisor.ledger import Ledger
from engine.supervisor.options import SupervisorOptions
from engine.supervisor.parcel import Parcel
from engine.supervisor.peer import Peer
from engine.supervisor.plan import Plan
from engine.supervisor.waiters import Waiter

_LONGEST_ID = 128

_log = logging.getLogger(__name__)


class Answer:
    """The one answer to one request. Nothing happens if whoever asked is gone."""

    def __init__(self, peer: Peer, request_id: object) -> None:
        self._peer = peer
        self._id = request_id

    def done(self, **fields: Any) -> None:
        self._peer.send({"type": "result", "id": self._id, "ok": True, **fields})

    def failed(self, error: EngineError) -> None:
        fields = {"ok": False, "error": str(error), "code": error.code}
        self._peer.send({"type": "result", "id": self._id, **fields})

    def waiter(self, **fields: Any) -> Waiter:
        """For orders that take their time."""
        return lambda error: self.done(**fields) if error is None else self.failed(error)


class Requests:
    """Carries out `request` messages."""

    def __init__(
        self,
        options: SupervisorOptions,
        ledger: Ledger,
        deployments: Deployments,
        *,
        status: Callable[[], dict[str, Any]],
        shut_down: Callable[[], None],
        guard: Guard,
    ) -> None:
        self._options = options
        self._ledger = ledger
        self._deployments = deployments
        self._status = status
        self._shut_down = shut_down
        self._guard = guard

    def handle(self, peer: Peer, parcel: Parcel) -> None:
        """Answers now, or when the order is carried out."""
        answer = Answer(peer, parcel.fields.get("id"))
        error = caught(functools.partial(self._carry_out, parcel, answer))
        if isinstance(error, EngineError):
            answer.failed(error)
        elif error is not None:  # it can be given again, which is better than one that hangs
            step = f"order {parcel.fields['op']}"
            self._guard.failed(step, step, error)
            self._guard.over(step)
            answer.failed(InternalError(f"{step} failed: {type(error).__name__}: {error}"))

    def _carry_out(self, parcel: Parcel, answer: Answer) -> None:
        operations: dict[str, Callable[[Parcel, Answer], None]] = {
            "deploy": self._deploy,
            "undeploy": self._undeploy,
            "scale": self._scale,
            "status": lambda _, answer: answer.done(**self._status()),
            "shutdown": self._shutdown,
        }
        operation = operations.get(parcel.text("op"))
        if operation is None:
            raise InvalidField(f"unknown op {parcel.fields['op']!r}", field="op")
        operation(parcel, answer)

    def _deploy(self, parcel: Parcel, answer: Answer) -> None:
        name = parcel.text("deployment")
        if not 0 < len(name) <= _LONGEST_ID or not name.isprintable():
            raise InvalidField(f"a deployment's id has 1 to {_LONGEST_ID} printable characters", field="deployment")
        spec = ModelSpec.from_json(parcel.mapping("spec"))
        if (spec.source is ModelSource.PICKLE) != (parcel.fds_left == 1):
            raise ProtocolError("a pickled factory comes with one descriptor, anything else with none")
        options = self._options.pool_options(parcel.mapping("options"))
        deployment = self._deployments.of(name)
        number = deployment.versions.newest + 1
        path = None
        if spec.source is ModelSource.PICKLE:
            path = self._store(name, number, parcel)
        plan = Plan(deployment=name, number=number, spec=spec.to_json(), options=options, pickle_path=path)
        try:
            deployment.deploy(plan, answer.waiter(deployment=name, version=number))
        except EngineError:
            if path is not None:
                self._ledger.forget_factory(path)
            raise

    def _store(self, deployment: str, number: int, parcel: Parcel) -> Path:
        fd = parcel.take_fds(1)[0]
        try:
            return self._ledger.store_factory(deployment, number, fd)
        except OSError as error:
            raise StateNotWritten(f"the factory cannot be stored: {error}") from error
        finally:
            os.close(fd)

    def _undeploy(self, parcel: Parcel, answer: Answer) -> None:
        name = parcel.text("deployment")
        self._deployments.find(name).undeploy(answer.waiter(deployment=name))

    def _scale(self, parcel: Parcel, answer: Answer) -> None:
        name, size = parcel.text("deployment"), parcel.number("pool_size")
        options = self._options.pool_options({"pool_size": size})
        self._deployments.find(name).scale(options.pool_size, answer.waiter(deployment=name, pool_size=size))

    def _shutdown(self, parcel: Parcel, answer: Answer) -> None:
        answer.done()
        _log.info("asked to shut down")
        self._shut_down()
