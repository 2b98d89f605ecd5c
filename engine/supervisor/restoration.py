"""What a predecessor wanted, and what the settings want: deployments that are begun without anybody's order."""

from __future__ import annotations

import contextlib
import dataclasses

from engine.errors import ProtocolError
from engine.spec import DEFAULT_DEPLOYMENT_ID, ModelSpec
from engine.supervisor.context import Context
from engine.supervisor.deployment import Deployment
from engine.supervisor.deployments import Deployments
from engine.supervisor.ledger import DeploymentRecord
from engine.supervisor.plan import Plan


class Restoration:
    """Each of its steps may be repeated."""

    def __init__(self, context: Context, deployments: Deployments) -> None:
        self._context = context
        self._deployments = deployments

    def restore(self, record: DeploymentRecord) -> None:
        """What a predecessor wanted: found alive if it served, begun anew if it was starting."""
        for plan in (record.serving, record.starting):
            if plan is not None:
                self._context.keep_factory(plan)
        deployment = self._deployments.of(record.deployment)
        deployment.versions.drained = record.drained
        deployment.versions.newest = max(deployment.versions.newest, record.newest)
        if record.serving is not None:
            deployment.versions.awaited = record
        if record.starting is not None and deployment.versions.starting is None:
            deployment.deploy(_renumbered(record.starting, deployment))

    def begin_anew(self, deployment: Deployment) -> None:
        """What nobody has offered is started from its plan."""
        record = deployment.versions.give_up()
        if record is None or record.serving is None or deployment.versions.starting is not None:
            return
        with contextlib.ExitStack() as undo:
            undo.callback(deployment.versions.await_again, record)
            deployment.deploy(_renumbered(record.serving, deployment))
            undo.pop_all()

    def start_configured(self) -> None:
        """The settings' own deployment, unless it serves already as they say, or somebody put another in its place."""
        spec = self._context.options.default_spec
        if spec is None:
            return
        deployment = self._deployments.of(DEFAULT_DEPLOYMENT_ID)
        desired = deployment.versions.starting.plan if deployment.versions.starting is not None else None
        if desired is None and deployment.versions.awaited is not None:
            desired = deployment.versions.awaited.serving
        if desired is None and deployment.versions.serving is not None:
            desired = deployment.versions.serving.plan  # known by its instances alone
        if desired is not None and (not desired.configured or _says(desired, spec)):
            return
        if refusal := self._context.options.refusal(self._context.options.pool):
            deployment.refuse(refusal)
            return
        deployment.deploy(
            Plan(
                deployment=deployment.id,
                number=deployment.versions.newest + 1,
                spec=spec.to_json(),
                options=self._context.options.pool,
                configured=True,
            )
        )


def _renumbered(plan: Plan, deployment: Deployment) -> Plan:
    """The same again, as a version of its own."""
    return dataclasses.replace(plan, number=deployment.versions.newest + 1)


def _says(plan: Plan, spec: ModelSpec) -> bool:
    """Whether `plan` was made from `spec`. One of another version of ours was not."""
    try:
        return ModelSpec.from_json(plan.spec) == spec
    except ProtocolError:
        return False
