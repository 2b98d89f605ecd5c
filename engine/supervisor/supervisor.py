"""The supervisor: how it begins, how it ends, and what it is made of.

Nothing here waits and nothing here computes: requests never pass through this process. It may be killed at any moment;
what it desires stands in the ledger, and everything else is told to the next one by those who hold it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from engine.clock import Deadline, now_ns
from engine.control.process_holds import ProcessHolds
from engine.errors import ProtocolError
from engine.launch.identity import wait_dead
from engine.spec import DEFAULT_DEPLOYMENT_ID
from engine.supervisor.adoption import Adoption
from engine.supervisor.context import Context
from engine.supervisor.deployments import Deployments
from engine.supervisor.frontend import Frontends
from engine.supervisor.instance import Instance
from engine.supervisor.ledger import DeploymentRecord, Ledger, State, record_json
from engine.supervisor.listener import Listener
from engine.supervisor.loop import Loop
from engine.supervisor.machine import MachineKeeper
from engine.supervisor.options import SupervisorOptions
from engine.supervisor.orders import Orders
from engine.supervisor.placement import Placement
from engine.supervisor.plan import Plan
from engine.supervisor.reception import Reception
from engine.supervisor.recorder import Recorder
from engine.supervisor.requests import Requests
from engine.supervisor.restoration import Restoration
from engine.supervisor.shares import Shares
from engine.supervisor.slow_work import SlowWork
from engine.supervisor.status import describe
from engine.supervisor.store_thread import StoreThread
from engine.supervisor.totals import Totals
from engine.supervisor.trace_export import TraceExport
from engine.supervisor.tuner import Tuner
from engine.supervisor.web.front import StatusFront

_LEAVE_WITHIN_S = 1.0  # once drained: instances that are still there are killed
_LEAVE_ALONE_S = 0.2  # the same where no frontend is left: what an instance still computes, it computes for nobody
_DEAD_WITHIN_S = 2.0  # killed, at the very end

_log = logging.getLogger(__name__)


class Supervisor:
    """One per runtime directory, for whoever holds the lock on it."""

    def __init__(self, options: SupervisorOptions, loop: Loop, *, follows: bool = False) -> None:
        """`follows`: somebody was supervisor here before, and did not end in order."""
        self._loop = loop
        self._options = options
        self._follows = follows
        self._ledger = Ledger(options.runtime_dir)
        self._process_holds = ProcessHolds()
        self._totals = Totals(loop, self._process_holds, lambda: self._deployments.drained)
        self._machine = MachineKeeper(self._process_holds, options.machine)
        self._shares = Shares(loop, self._machine, options.lent)
        self.slow_work = SlowWork(loop)
        self._tuning_work = SlowWork(loop, "tuning-work")  # state_dir and sounds may lie on another disk, which hangs
        self._stores = StoreThread.of(loop, options.stores, self._machine.row) if options.stores is not None else None
        self._traces = TraceExport.of(options.settings, self._machine.row)
        self._recorder = Recorder(loop, self._ledger, self.slow_work, self._state)
        self._frontends = Frontends(loop, lambda frontend: self._reception.frontend_died(frontend))
        self._context = self._shared()
        self._adoption = Adoption(self._context, self._begin_anew)
        self._deployments = Deployments(self._context, self._stop_if_done)
        self._restoration = Restoration(self._context, self._deployments)
        self._tuner = Tuner(self._context, self._deployments, self._tuning_work)
        requests = self._requests()
        self._reception = Reception(
            self._context, self._deployments, self._adoption, requests, offer_more=self._tuner.offer
        )
        self._front = StatusFront(self._context, self._deployments, self._machine, requests, self._tuner.describe)
        self._listener: Listener | None = None
        self._leaving = False
        self._to_restore: list[DeploymentRecord] | None = None  # None: not read yet
        self._waits = False  # for those who were there
        self._began_at_ns = now_ns()

    def _shared(self) -> Context:
        """What every part is given; what is made after it is asked for when it is needed."""
        return Context(
            loop=self._loop,
            options=self._options,
            frontends=self._frontends,
            keys={},
            record_json=record_json,
            persist=self._recorder.persist,
            when_written=self._recorder.when_written,
            commit=self._recorder.commit,
            keep_factory=self._keep_factory,
            open_factory=self._ledger.open_factory,
            forget_factory=self._forget_factory,
            drop_if_unused=lambda frontend: self._reception.drop_if_unused(frontend),
            everybody_back=lambda: self._adoption.over,
            news=self._news,
            rebalance=functools.partial(self._loop.attempt, Placement(self._options, lambda: self._deployments).apply),
            process_holds=self._process_holds,
            totals=self._totals,
        )

    def _requests(self) -> Requests:
        return Requests(
            self._options,
            self._ledger,
            self._deployments,
            Orders(self._loop, self._recorder, self.slow_work),
            forget_factory=self._forget_factory,
            status=self._status,
            shut_down=lambda: self._loop.attempt(self.shut_down),
            guard=self._loop.guard,
        )

    @property
    def leaving(self) -> bool:
        """Whether it was told to end."""
        return self._leaving

    @property
    def deployments(self) -> Deployments:
        """For whoever tells others how they are."""
        return self._deployments

    # --- start and end ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts what is desired, or waits for those who have it. For the loop, which repeats it until it succeeds."""
        if self._leaving:
            return
        if self._stores is not None:
            self._stores.start()
        if self._to_restore is None:
            self._to_restore = self._read_ledger()
        while self._to_restore:
            self._restoration.restore(self._to_restore[0])
            self._to_restore.pop(0)
        if self._listener is None:
            self._listener = Listener(self._loop, self._options.runtime_dir, self._reception.accept)
        self._front.start()
        self._wait_for_the_living()  # not before: they had nowhere to come back to
        if not self._adoption.recalls:
            self._begin_to_record()

    def _look_back(self) -> None:
        """Told to end before it began: whoever a predecessor has left is to end too."""
        if self._to_restore is None:
            self._to_restore = self._read_ledger()
        self._wait_for_the_living()

    def _wait_for_the_living(self) -> None:
        if not self._waits:
            self._adoption.begin()
            self._waits = True

    def _read_ledger(self) -> list[DeploymentRecord]:
        state = self._ledger.read()
        blind = self._follows and self._ledger.lost
        self._adoption.expect(state, blind=blind)
        if self._ledger.unreadable:
            self._loop.guard.failed("ledger", "Ledger.read", ProtocolError(self._ledger.unreadable))
            self._loop.guard.over("ledger")  # nothing can be done about it but to say so
        if self._adoption.found_living:
            return list(state.deployments)
        return [each for each in state.deployments if each.deployment != DEFAULT_DEPLOYMENT_ID]

    def keep_files(self) -> None:
        """Puts back what somebody removed from the runtime directory. Raises OSError."""
        if self._listener is not None and not self._leaving:
            self._listener.keep()
        self._recorder.keep_files()

    def shut_down(self) -> None:
        """Drains within `drain_s` (not at all for nobody), ends everybody, forgets what was desired, stops the loop."""
        if self._leaving:
            return
        alone = not self._frontends.all()
        drain_s, leave_s = (0.0, _LEAVE_ALONE_S) if alone else (self._options.drain_s, _LEAVE_WITHIN_S)
        self._loop.call_after(drain_s + leave_s, self._loop.stop)
        self._leaving, self._recorder.is_on = True, False
        _log.info("shutting down")
        self._loop.attempt(self._look_back)
        # One by one: what hinders one of them must not keep the others, who would be killed with their work in hand.
        self._loop.attempt(functools.partial(self.slow_work.attempt, self._ledger.clear))
        self._loop.attempt(self._adoption.dismiss)
        self._loop.attempt(self._tuner.close)
        for deployment in self._deployments:
            self._loop.attempt(functools.partial(deployment.undeploy, drain_s=drain_s))
        if self._listener is not None:
            self._loop.attempt(self._listener.close)  # after those that were about to connect have been ended
        self._stop_if_done()

    def close(self) -> None:
        """After the loop was stopped: ends whoever is left, so that nothing of ours is left behind."""
        everybody = self._deployments.versions()
        killed = [each for version in everybody for each in version.pool.instances()]
        steps: list[Callable[[], None]] = [version.abandon for version in everybody]
        steps += [self._tuner.close, functools.partial(self._wait_dead, killed)]
        steps += [functools.partial(self._frontends.drop, frontend) for frontend in self._frontends.all()]
        steps += [self._reception.close_all, self._front.close, self._traces.close]
        steps += [self._stores.close] if self._stores is not None else []
        steps += [self.end_work, self._ledger.close, self._machine.close, self._process_holds.close]
        for step in steps:
            self._loop.attempt(step)

    def end_work(self) -> None:
        """Ends the threads beside the loop."""
        self._tuning_work.close()
        self.slow_work.close()

    def _keep_factory(self, plan: Plan) -> None:
        if plan.pickle_path is not None:
            with contextlib.suppress(OSError):  # it is missed when it is needed, which may be never
                self._ledger.keep_factory(plan.pickle_path)

    def _forget_factory(self, path: Path) -> None:
        self.slow_work.attempt(functools.partial(self._ledger.forget_factory, path))

    def _begin_anew(self) -> None:
        """Everybody is here who will come: what nobody offered is started from its plan."""
        if self._leaving:
            self._stop_if_done()
            return
        self._loop.attempt(self._begin_totals)
        self._loop.attempt(self._begin_machine)
        self._loop.attempt(self._shares.begin)
        for deployment in self._deployments:
            self._loop.attempt(functools.partial(self._restoration.begin_anew, deployment))
        if self._adoption.blind:
            self._loop.attempt(self._begin_to_record)
        self._deployments.tell_versions(lambda version: version.pool_changed())
        self._news()

    def _news(self) -> None:
        """Something changed that somebody may wait for."""
        self._loop.attempt(self._tuner.look)  # before anybody is welcomed, who then knows whether tuning goes on
        self._reception.welcome_who_may()
        self._front.changed()

    def _begin_totals(self) -> None:
        """Everybody has brought what it holds: what is missing of it is made, and offered to instances too."""
        self._totals.begin()
        for deployment in self._deployments:
            self._loop.attempt(deployment.carry)
        self._deployments.tell_versions(self._reception.welcome_instances)

    def _begin_machine(self) -> None:
        """Where there is too little memory for it, everybody serves on without, and is told once there is enough."""
        if self._machine.begin():
            self._loop.attempt(self._reception.welcome_again)  # a step of its own: repeated, `begin` has nothing new
            self._loop.attempt(functools.partial(self._traces.meet, self._machine.machine))

    def _begin_to_record(self) -> None:
        """What is desired is known. Not before: the next successor would take what is written for all there is."""
        self._restoration.start_configured()
        self._recorder.is_on = True
        self._recorder.persist()

    def _stop_if_done(self) -> None:
        if self._leaving and self._adoption.over and not any(self._deployments):
            self._loop.stop()

    def _state(self) -> State:
        """What a successor must know."""
        instances, others = self._adoption.missing
        named = {each.identity for version in self._deployments.versions() for each in version.pool.named()}
        return State(
            deployments=tuple(deployment.versions.record(deployment.id) for deployment in self._deployments),
            instances=tuple(instances | named),
            frontends=tuple(others | {frontend.identity for frontend in self._frontends.all()}),
        )

    def _status(self) -> dict[str, Any]:
        return describe(
            self._deployments,
            self._frontends.all(),
            began_at_ns=self._began_at_ns,
            restarted=self._adoption.found_living,
            health=self._loop.guard.describe(),
            totals=self._machine.totals(),
            settings=self._options.settings,
            tuning=self._tuner.describe,
            status_server=self._front.description,
        )

    def _wait_dead(self, killed: Sequence[Instance]) -> None:
        """Whoever finds the engine ended finds its memory free, on devices too: a large process takes a while to go."""
        until = Deadline.after_s(_DEAD_WITHIN_S)
        for pidfd in [*self._tuner.pidfds, *(instance.pidfd for instance in killed)]:
            wait_dead(pidfd, timeout_s=until.remaining_s())
