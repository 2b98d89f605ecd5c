"""The versions of one deployment, by what they are to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from engine.core.lifecycle import DeploymentState, as_seen, deployment_state
from engine.supervisor.closing_version import ClosingVersion
from engine.supervisor.frontend import Frontend
from engine.supervisor.ledger import DeploymentRecord
from engine.supervisor.plane import Plane
from engine.supervisor.serving_version import ServingVersion
from engine.supervisor.version import Version


class Succession:
    """Changed by its deployment, and by whoever restores what a predecessor desired, before anything else happens."""

    def __init__(self) -> None:
        self.serving: ServingVersion | None = None
        self.starting: ServingVersion | None = None  # in the place of the serving one, once it is ready
        self.awaited: DeploymentRecord | None = None  # what a predecessor had serving and nobody has offered yet
        self.replaced: list[ServingVersion] = []  # serve on until they are closed, soon after another one serves
        self.closing: list[ClosingVersion] = []
        self.newest = 0  # number of the newest version ever begun
        self.heir = 0  # number of the version that goes on because nobody can load what serves any more
        self.failure = ""  # why there is none that serves
        self.undeployed = False  # all of it shall end
        self.drained = False  # it shall take nothing new, until somebody says otherwise

    def __iter__(self) -> Iterator[Version]:
        """Everything that has processes or a segment, what is on its way out first."""
        yield from (*self.closing, *self.replaced)
        yield from (each for each in (self.serving, self.starting) if each is not None)

    def numbered(self, number: int) -> Version | None:
        return next((each for each in self if each.plan.number == number), None)

    @property
    def number_serving(self) -> int:
        """0 while none serves."""
        return self.serving.plan.number if self.serving is not None else 0

    @property
    def configured(self) -> bool:
        """Whether the settings name the deployment: then a frontend does not listen before it has a lane in it."""
        plans = [each.plan for each in (self.serving, self.starting) if each is not None]
        if self.awaited is not None and self.awaited.serving is not None:
            plans.append(self.awaited.serving)
        return any(plan.configured for plan in plans)

    @property
    def held_by(self) -> list[int]:
        """Pids of frontends that have not let go of a version of which no instance is left."""
        return sorted({pid for each in self.closing for pid in each.held_by})

    @property
    def factories(self) -> set[Path]:
        """Those that instances may still ask for."""
        return {each.plan.pickle_path for each in self if each.plan.pickle_path is not None}

    @property
    def planes(self) -> dict[int, Plane]:
        """Those that are open by number of their version, the oldest first."""
        versions = sorted(self, key=lambda each: each.plan.number)
        return {each.plan.number: each.plane for each in versions if each.plane is not None}

    @property
    def wanted(self) -> bool:
        """Whether the deployment is to be known although there is no version of it just now."""
        return self.awaited is not None or bool(self.failure and not self.undeployed)

    @property
    def state(self) -> DeploymentState:
        """As its users see it."""
        return as_seen(self._state, drained=self.drained)

    @property
    def _state(self) -> DeploymentState:
        """As it would be if nobody had it drained."""
        if self.undeployed:
            return DeploymentState.CLOSING if any(self) else DeploymentState.GONE
        if self.awaited is not None:
            return DeploymentState.STARTING
        heir_starts = self.starting is not None and self.starting.plan.number == self.heir
        if self.serving is not None and self.serving.pool.seats.hopeless and not heir_starts:
            return DeploymentState.FAILED  # it is tried on; until then requests have better places to go
        return deployment_state((each.state for each in self), failed=bool(self.failure))

    @property
    def reason(self) -> str:
        """Why it is not ready, or not as large as wished; empty if there is nothing to say."""
        if self.undeployed and self.held_by:
            pids = ", ".join(map(str, self.held_by))
            return f"its instances have ended; processes that are stopped or stuck have not let go yet: {pids}"
        version = self.serving or self.starting
        return self.failure or (version.pool.seats.reason if version is not None else "")

    def give_up(self) -> DeploymentRecord | None:
        """Nobody offers what was awaited. Returns it, if something was."""
        record, self.awaited = self.awaited, None
        return record

    def await_again(self, record: DeploymentRecord) -> None:
        """It could not be begun anew either."""
        self.awaited = record

    def promote(self) -> None:
        """What starts serves from here on. What it takes the place of is to be closed: see `replaced`."""
        before, self.serving, self.starting, self.awaited = self.serving, self.starting, None, None
        self.failure = ""
        if before is not None:
            self.replaced.append(before)

    def keeps_waiting(self, frontend: Frontend) -> bool:
        """Whether `frontend` must not listen yet on our account."""
        if self.serving is not None:
            return not self.serving.has_lane(frontend)
        if not self.configured:
            return False
        return self.awaited is not None or (self.starting is not None and not self.starting.has_lane(frontend))

    def record(self, deployment_id: str) -> DeploymentRecord:
        """For the state file."""
        known = self.awaited or DeploymentRecord(deployment_id, 0, None, None, None)
        serving, description = known.serving, known.description
        if self.serving is not None and self.serving.plane is not None:
            serving, description = self.serving.plan, self.serving.plane.description
        starting = self.starting.plan if self.starting is not None else None
        return DeploymentRecord(deployment_id, self.newest, serving, starting, description, self.drained)
