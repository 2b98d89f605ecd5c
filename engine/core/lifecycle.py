"""The life of an instance, of a version and of a deployment: states, events, and the tables of what may follow what.

A state changes only through `InstanceState.after` and `VersionState.after`. Exit codes are a vocabulary: by them alone
a supervisor that was not listening (or was not alive) still learns how far an instance came.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, IntEnum

from engine.errors import InternalError


class ExitCode(IntEnum):
    """How processes of the engine end. Values avoid 1 and 2 (interpreter), 3 and 4 (gunicorn), 126 and up (shells)."""

    CLEAN = 0  # told to leave, left
    LOAD_FAILED = 20  # instance: the model could not be loaded; reported
    WARMUP_FAILED = 21  # instance: the model does not compute, or not reliably; reported
    ORPHANED = 22  # instance: the supervisor went away before there was work, or nobody is left
    POISONED = 23  # instance: it worked and then could not compute any more; what it had in hand runs elsewhere
    LOCKED = 30  # supervisor, keeper: another one runs in this runtime directory
    BAD_CONFIG = 31  # supervisor: the settings cannot work; starting again cannot help
    UNSUPPORTED = 32  # supervisor: not on this machine; starting again cannot help
    MIXED_LAYOUTS = 34  # supervisor: another release lives here; starting again helps once that is gone
    NO_LOCK = 33  # supervisor, keeper: the lock cannot be made in the runtime directory


class InstanceEvent(str, Enum):
    """What can happen to an instance; in the past tense, since it is only ever observed."""

    CONNECTED = "connected"
    LOADED = "loaded"
    WARMED = "warmed"
    REPORTED_FAILURE = "reported_failure"
    TOLD_TO_LEAVE = "told_to_leave"
    DIED = "died"


class InstanceState(str, Enum):
    """Where an instance is. Only READY takes work."""

    STARTING = "starting"
    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    FAILED = "failed"  # it said why; its death follows
    LEAVING = "leaving"
    DEAD = "dead"

    def after(self, event: InstanceEvent) -> InstanceState:
        """The state that follows. Raises InternalError for an event that cannot happen here."""
        try:
            return _INSTANCE_TABLE[self, event]
        except KeyError:
            raise InternalError(f"an instance that is {self.value} cannot be {event.value}") from None

    def allows(self, event: InstanceEvent) -> bool:
        """Whether `after(event)` has an answer."""
        return (self, event) in _INSTANCE_TABLE

    @property
    def is_booting(self) -> bool:
        """Whether it has not been ready yet and may still become so."""
        return self in _BOOTING


_BOOTING = (InstanceState.STARTING, InstanceState.LOADING, InstanceState.WARMING)

_INSTANCE_TABLE: dict[tuple[InstanceState, InstanceEvent], InstanceState] = {
    (InstanceState.STARTING, InstanceEvent.CONNECTED): InstanceState.LOADING,
    (InstanceState.LOADING, InstanceEvent.LOADED): InstanceState.WARMING,
    (InstanceState.WARMING, InstanceEvent.WARMED): InstanceState.READY,
    (InstanceState.LOADING, InstanceEvent.REPORTED_FAILURE): InstanceState.FAILED,
    (InstanceState.WARMING, InstanceEvent.REPORTED_FAILURE): InstanceState.FAILED,
    **{
        (state, InstanceEvent.TOLD_TO_LEAVE): InstanceState.LEAVING
        for state in (*_BOOTING, InstanceState.READY, InstanceState.FAILED, InstanceState.LEAVING)
    },
    **{(state, InstanceEvent.DIED): InstanceState.DEAD for state in InstanceState if state is not InstanceState.DEAD},
}


class VersionEvent(str, Enum):
    """What can happen to one version of a deployment."""

    FIRST_READY = "first_ready"
    RETIRED = "retired"  # another one serves in its place, it failed, or nobody wants it any more
    ANNOUNCED = "announced"  # its segment and its frontends say that it takes nothing new
    DRAINED = "drained"  # nothing is outstanding, or time is up, or nobody is left who could answer
    VACATED = "vacated"  # its last instance is dead
    RELEASED = "released"  # every frontend has let go


class VersionState(str, Enum):
    """Where one version of a deployment is. Requests are accepted by the SERVING one. Each state is reached once."""

    STARTING = "starting"
    SERVING = "serving"
    RETIRED = "retired"  # it shall close; nobody has been told yet
    DRAINING = "draining"  # what is outstanding is answered, nothing new is taken
    DISMISSED = "dismissed"  # its instances were told to leave
    VACANT = "vacant"  # nobody computes; what is left is refused by the frontends that wait for it
    GONE = "gone"

    def after(self, event: VersionEvent) -> VersionState:
        """The state that follows. Raises InternalError for an event that cannot happen here."""
        try:
            return _VERSION_TABLE[self, event]
        except KeyError:
            raise InternalError(f"a version that is {self.value} cannot be {event.value}") from None

    def allows(self, event: VersionEvent) -> bool:
        """Whether `after(event)` has an answer."""
        return (self, event) in _VERSION_TABLE

    @property
    def is_open(self) -> bool:
        """Whether it hands out lanes and fills its seats."""
        return self in _OPEN

    @property
    def is_closing(self) -> bool:
        """Whether it has stopped doing so and something of it is left."""
        return self in _CLOSING

    @property
    def public(self) -> str:
        """What its users are told: one word for all steps of closing."""
        return "closing" if self.is_closing else self.value


_OPEN = (VersionState.STARTING, VersionState.SERVING)
_CLOSING = (VersionState.RETIRED, VersionState.DRAINING, VersionState.DISMISSED, VersionState.VACANT)

_VERSION_TABLE: dict[tuple[VersionState, VersionEvent], VersionState] = {
    (VersionState.STARTING, VersionEvent.FIRST_READY): VersionState.SERVING,
    (VersionState.STARTING, VersionEvent.RETIRED): VersionState.RETIRED,
    (VersionState.SERVING, VersionEvent.RETIRED): VersionState.RETIRED,
    (VersionState.RETIRED, VersionEvent.ANNOUNCED): VersionState.DRAINING,
    (VersionState.DRAINING, VersionEvent.DRAINED): VersionState.DISMISSED,
    (VersionState.DISMISSED, VersionEvent.VACATED): VersionState.VACANT,
    (VersionState.VACANT, VersionEvent.RELEASED): VersionState.GONE,
}


class DeploymentState(str, Enum):
    """A deployment as its users see it."""

    STARTING = "starting"
    READY = "ready"
    DRAINED = "drained"  # somebody wants it to take nothing new for now; it could serve, or soon could
    FAILED = "failed"
    CLOSING = "closing"
    GONE = "gone"


def as_seen(state: DeploymentState, *, drained: bool) -> DeploymentState:
    """What becomes of a state by an order to take nothing new: of those in which requests are let in."""
    return DeploymentState.DRAINED if drained and state in _ADMITTING else state


_ADMITTING = (DeploymentState.STARTING, DeploymentState.READY)


def deployment_state(versions: Iterable[VersionState], *, failed: bool) -> DeploymentState:
    """What the states of its versions make of a deployment.

    A serving version counts first: while one serves, neither a new one that starts nor one that failed is a concern of
    those who send requests.
    """
    found = set(versions)
    if VersionState.SERVING in found:
        return DeploymentState.READY
    if VersionState.STARTING in found:
        return DeploymentState.STARTING
    if failed:
        return DeploymentState.FAILED
    return DeploymentState.CLOSING if any(state.is_closing for state in found) else DeploymentState.GONE
