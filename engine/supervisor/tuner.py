"""Tunes what serves: looks for what trials found, has them made where there is nothing, swaps the winner in.

Trials run one at a time, in a process that dies with this one: nothing of them has to be adopted. What they found lies
on disk, where instances find it by themselves; so a swap to it is the same plan again under the next number.

Nothing here waits. Disks are read by the slow work; what has come meanwhile decides whether the answer still counts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
from typing import Any

from engine.core.tuning import Tuning, TuningState, TuningStep
from engine.supervisor.context import Context
from engine.supervisor.deployment import Deployment
from engine.supervisor.deployments import Deployments
from engine.supervisor.frontend import Frontend
from engine.supervisor.serving_version import ServingVersion
from engine.supervisor.slow_work import SlowWork
from engine.supervisor.trial import Trial
from engine.supervisor.tuned_deployment import TunedDeployment
from engine.supervisor.tuning_lookup import finding_of, lookup, order_of, warnings_of
from engine.tuning.folder import remove_leftovers
from engine.tuning.order import TrialNews
from engine.tuning.result import TuningResult
from engine.tuning.terms import TuningTerms

_log = logging.getLogger(__name__)


class Tuner:
    """`look` may be called whenever anything may have changed, and acts on what has."""

    def __init__(self, context: Context, deployments: Deployments, slow_work: SlowWork) -> None:
        self._context = context
        self._deployments = deployments
        self._slow_work = slow_work
        self._known: dict[str, TunedDeployment] = {}
        self._trial: Trial | None = None
        self._tried = ("", 0)  # deployment and version that the trial is about
        self._leaving = False

    # --- for others -------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Compares what serves with what was known."""
        if self._leaving or not self._context.everybody_back():
            return
        deployments = {each.id: each for each in self._deployments}
        for name in self._known.keys() - deployments.keys():
            del self._known[name]
        for deployment in deployments.values():
            self._look_at(deployment)
        self._end_outdated_trial()
        self._start_next_trial()
        self._tell()

    def describe(self, deployment_id: str) -> dict[str, Any]:
        """For status."""
        return self._known.get(deployment_id, TunedDeployment()).description

    @property
    def pidfds(self) -> list[int]:
        """Of the processes that try forms and are not known to be dead."""
        return [] if self._trial is None or self._trial.pidfd < 0 else [self._trial.pidfd]

    def offer(self, frontend: Frontend) -> None:
        """Tells a new frontend all there is."""
        for name, known in self._known.items():
            frontend.send(_message(name, known.description))

    def close(self) -> None:
        """Trials end with the supervisor: first told to, then killed."""
        if self._trial is not None and self._leaving:
            self._trial.kill()
        elif self._trial is not None:
            self._trial.end("the supervisor ends")
        self._leaving = True

    # --- what serves ------------------------------------------------------------------------------------------------

    def _of(self, deployment_id: str) -> TunedDeployment:
        return self._known.setdefault(deployment_id, TunedDeployment())

    def _look_at(self, deployment: Deployment) -> None:
        known, serving = self._of(deployment.id), _settled(deployment)
        if serving is None or serving.plane is None:
            starting = deployment.versions.starting
            known.tuning.interrupted(starting.plan.number if starting is not None else 0)
            return
        refused = "" if serving.plan.options.tuning == "on" else "tuning=off"
        if serving.plan.number != known.tuning.version and known.tuning.state is not TuningState.SWAPPING:
            known.figures.forget()
        step = known.tuning.serves(serving.plan.number, serving.plane.description.form, refused=refused)
        known.is_unread |= step is TuningStep.LOOK
        if known.is_unread:
            self._read(deployment, serving)
            known.is_unread = False  # not before: should that fail, it is done again

    def _serving(self, deployment: Deployment, number: int) -> ServingVersion | None:
        """The version of that number, unless something else is to be done with the deployment by now."""
        serving = _settled(deployment)
        return serving if serving is not None and serving.plan.number == number else None

    # --- what trials have found -------------------------------------------------------------------------------------

    def _read(self, deployment: Deployment, version: ServingVersion) -> None:
        """Has it read beside the loop."""
        found = functools.partial(self._found, deployment, version.plan.number)
        failed = functools.partial(self._unreadable, deployment, version.plan.number)
        self._slow_work.submit(lookup(self._context.options, version), found, failed)

    def _unreadable(self, deployment: Deployment, number: int, error: Exception) -> None:
        _log.warning("%s: what trials have found cannot be read: %s", deployment.id, error)
        self._found(deployment, number, None)

    def _found(self, deployment: Deployment, number: int, result: TuningResult | None) -> None:
        known, version = self._of(deployment.id), self._serving(deployment, number)
        if version is None:
            return
        known.figures.result = result
        finding = None if result is None else finding_of(result, version.plan.options.precision)
        step = known.tuning.looked(finding, warnings_of(version))
        with contextlib.ExitStack() as undo:
            undo.callback(known.tuning.look_again)
            if step is TuningStep.SWAP:
                self._swap(deployment, version, known.tuning)
            elif step is TuningStep.STOP:
                deployment.give_up(version, known.tuning.reason)
            undo.pop_all()
        self.look()

    def _swap(self, deployment: Deployment, version: ServingVersion, tuning: Tuning) -> None:
        number = deployment.versions.newest + 1
        _log.info("%s: version %d follows, in the form %s", deployment.id, number, tuning.winner)
        tuning.swaps(number)
        deployment.deploy(dataclasses.replace(version.plan, number=number))

    # --- trials -----------------------------------------------------------------------------------------------------

    def _start_next_trial(self) -> None:
        if self._trial is not None:
            return
        for deployment in self._deployments:
            tuning = self._of(deployment.id).tuning
            version = self._serving(deployment, tuning.version)
            if tuning.state is TuningState.WAITING and version is not None:
                if self._try(deployment, version, tuning):
                    return

    def _try(self, deployment: Deployment, version: ServingVersion, tuning: Tuning) -> bool:
        """Whether trials could be started."""
        number, options = version.plan.number, self._context.options
        trial = Trial(
            self._context.loop,
            limit_s=options.trial_patience * options.settings.trial_limit_s,
            on_news=functools.partial(self._hear, deployment.id),
            on_end=lambda failure: self._ended(trial, deployment.id, number, failure),
        )
        try:
            with contextlib.ExitStack() as stack, contextlib.ExitStack() as undo:
                undo.callback(trial.kill)
                factory_fd = None
                if version.plan.pickle_path is not None:
                    factory_fd = self._context.open_factory(version.plan.pickle_path)
                    stack.callback(os.close, factory_fd)
                trial.start(options.trial_command, order_of(options, version), factory_fd)
                undo.pop_all()
        except OSError as error:
            tuning.ended(f"trials cannot be started: {error}")
            return False
        self._trial, self._tried = trial, (deployment.id, number)
        _log.info("%s: forms of version %d are tried by pid %d", deployment.id, number, trial.pid)
        tuning.began()
        return True

    def _end_outdated_trial(self) -> None:
        """The version that is being tried does not serve any more, or is about to be replaced."""
        name, number = self._tried
        known = self._known.get(name)
        if self._trial is not None and (known is None or known.tuning.version != number):
            self._trial.end("the version that was tried is not the one that serves any more")

    def _hear(self, deployment_id: str, news: TrialNews) -> None:
        known = self._known.get(deployment_id)
        if known is not None and known.tuning.state is TuningState.RUNNING:
            known.figures.hear(news)
            self._tell()

    def _ended(self, trial: Trial, deployment_id: str, number: int, failure: str) -> None:
        """May be repeated."""
        if self._trial is trial:
            self._trial, self._tried = None, ("", 0)
        if failure:  # it may have been killed in the middle of its files
            folder = TuningTerms.of(self._context.options.settings).folder
            self._slow_work.attempt(functools.partial(remove_leftovers, folder))
        known = self._known.get(deployment_id)
        if known is not None and known.tuning.version == number and known.tuning.state is TuningState.RUNNING:
            if failure:
                _log.warning("%s: no form of version %d was found: %s", deployment_id, number, failure)
            known.is_unread = known.tuning.ended(failure) is TuningStep.LOOK
        self.look()

    # --- telling ----------------------------------------------------------------------------------------------------

    def _tell(self) -> None:
        """Every frontend, of what has changed."""
        for name, known in self._known.items():
            if known.told != (described := known.description):
                self._context.frontends.tell(_message(name, described))
                known.told = described


def _settled(deployment: Deployment) -> ServingVersion | None:
    """The version that serves, unless another is about to or all of it is to end."""
    versions = deployment.versions
    return None if versions.starting is not None or versions.undeployed else versions.serving


def _message(deployment_id: str, described: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tuning", "deployment": deployment_id, "tuning": described}
