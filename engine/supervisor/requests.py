"""Orders from the command line, managers and the status server: checked, given to the deployments, answered once.

Same user only (the socket sees to that). A factory that comes with `deploy` is stored and handed to instances as bytes.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from engine.errors import (
    EngineError,
    InternalError,
    InvalidField,
    ProtocolError,
    UnknownDeployment,
)
from engine.spec import DEFAULT_DEPLOYMENT_ID, ModelSource, ModelSpec
from engine.supervisor.deployments import Deployments
from engine.supervisor.guard import Guard, caught
from engine.supervisor.ledger import Ledger
from engine.supervisor.options import SupervisorOptions
from engine.supervisor.orders import Order, Orders
from engine.supervisor.parcel import Parcel
from engine.supervisor.plan import Plan
from engine.supervisor.stored_factory import StoredFactory
from engine.supervisor.waiters import Waiter

_LONGEST_ID = 128

_log = logging.getLogger(__name__)


class Hearer(Protocol):
    """Who asked, and is told: a peer of the control socket, or somebody over HTTP."""

    def send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Now or later; never waits."""


class Answer:
    """The one answer to one request. Nothing happens if whoever asked is gone."""

    def __init__(self, peer: Hearer, request_id: object) -> None:
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
        orders: Orders,
        *,
        forget_factory: Callable[[Path], None],
        status: Callable[[], dict[str, Any]],
        shut_down: Callable[[], None],
        guard: Guard,
    ) -> None:
        self._options = options
        self._ledger = ledger
        self._deployments = deployments
        self._orders = orders
        self._forget_factory = forget_factory
        self.status = status  # what there is to know
        self._shut_down = shut_down
        self._guard = guard

    def handle(self, peer: Hearer, parcel: Parcel) -> None:
        """Answers now, or when the order is carried out."""
        answer = Answer(peer, parcel.fields.get("id"))
        error = caught(functools.partial(self._carry_out, parcel, answer))
        if error is not None:
            self._refuse(f"order {parcel.fields.get('op')}", answer, error)

    def _refuse(self, step: str, answer: Answer, error: Exception) -> None:
        if isinstance(error, EngineError):
            answer.failed(error)
        else:  # it can be given again, which is better than one that hangs
            self._guard.failed(step, step, error)
            self._guard.over(step)
            answer.failed(InternalError(f"{step} failed: {type(error).__name__}: {error}"))

    def _carry_out(self, parcel: Parcel, answer: Answer) -> None:
        operations: dict[str, Callable[[Parcel, Answer], None]] = {
            "deploy": self._deploy,
            "undeploy": self._undeploy,
            "scale": self._scale,
            "drain": self._drain,
            "status": lambda _, answer: answer.done(**self.status()),
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
        if "spec" not in parcel.fields:
            self._deploy_configured(name, answer)
            return
        spec = ModelSpec.from_json(parcel.mapping("spec"))
        if (spec.source is ModelSource.PICKLE) != (parcel.fds_left == 1):
            raise ProtocolError("a pickled factory comes with one descriptor, anything else with none")
        options = self._options.pool_options(parcel.mapping("options"))
        factory = None
        if spec.source is ModelSource.PICKLE:
            factory = StoredFactory(self._ledger, name, parcel.take_fds(1)[0], self._forget_factory)

        def deploy() -> None:
            path = factory.path if factory is not None else None
            plan = Plan(deployment=name, number=0, spec=spec.to_json(), options=options, pickle_path=path)
            self._begin(plan, answer)

        self._order("deploy", answer, deploy, factory)

    def _deploy_configured(self, name: str, answer: Answer) -> None:
        """What the settings declare, once more: what lies where they point may be another model by now."""
        spec, pool = self._options.default_spec, self._options.pool
        if spec is None or name != DEFAULT_DEPLOYMENT_ID:
            declared = "none" if spec is None else DEFAULT_DEPLOYMENT_ID
            raise UnknownDeployment(f"the configuration declares no deployment {name!r:.140}; it declares: {declared}")
        if refusal := self._options.refusal(pool):
            raise InvalidField(refusal, field="precision")
        plan = Plan(deployment=name, number=0, spec=spec.to_json(), options=pool, configured=True)
        self._order("deploy", answer, functools.partial(self._begin, plan, answer))

    def _begin(self, plan: Plan, answer: Answer) -> None:
        """As the next version of its deployment."""
        deployment = self._deployments.of(plan.deployment)
        plan = dataclasses.replace(plan, number=deployment.versions.newest + 1)
        with self._deployments.drainage.ended(deployment):  # whoever deploys wants to be served
            deployment.deploy(plan, answer.waiter(deployment=plan.deployment, version=plan.number))

    def _undeploy(self, parcel: Parcel, answer: Answer) -> None:
        name = parcel.text("deployment")
        waiter = answer.waiter(deployment=name)
        self._order("undeploy", answer, lambda: self._deployments.find(name).undeploy(waiter))

    def _scale(self, parcel: Parcel, answer: Answer) -> None:
        name, size = parcel.text("deployment"), parcel.number("pool_size")
        options = self._options.pool_options({"pool_size": size})
        waiter = answer.waiter(deployment=name, pool_size=size)
        self._order("scale", answer, lambda: self._deployments.find(name).scale(options.pool_size, waiter))

    def _drain(self, parcel: Parcel, answer: Answer) -> None:
        """With `resume` the deployment takes requests again."""
        name, resume = parcel.text("deployment"), parcel.fields.get("resume", False)
        if not isinstance(resume, bool):
            raise InvalidField(f"resume={resume!r}: true or false", field="resume")
        waiter, drainage = answer.waiter(deployment=name, drained=not resume), self._deployments.drainage
        act = drainage.resume if resume else drainage.drain
        self._order("drain", answer, lambda: act(self._deployments.find(name), waiter))

    def _order(
        self, op: str, answer: Answer, act: Callable[[], None], factory: StoredFactory | None = None
    ) -> None:
        refuse = functools.partial(self._refuse, f"order {op}", answer)
        if factory is None:
            self._orders.give(Order(act, refuse))
        else:
            self._orders.give(Order(act, refuse, prepare=factory.store, finish=factory.finish))

    def _shutdown(self, parcel: Parcel, answer: Answer) -> None:
        answer.done()
        _log.info("asked to shut down")
        self._shut_down()
