"""Every error of the engine, one tree by blame.

The class says who is to blame, carries a code for machines, whether trying again can help, and the text a client may
see. `frontend/errors.py` is the one table that turns them into HTTP. All survive pickling.
"""

from __future__ import annotations

import functools
from typing import ClassVar


class EngineError(Exception):
    """Root. `code` is stable and for machines; `str(error)` is for people and may be shown to a client."""

    code: ClassVar[str] = "INTERNAL"
    retryable: ClassVar[bool] = False

    def __init__(self, text: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__(text or (type(self).__doc__ or "").strip().splitlines()[0])
        self.retry_after_s = retry_after_s


# --- the caller's fault ---------------------------------------------------------------------------------------------


class CallerError(EngineError):
    """The request cannot be served as it stands."""

    code = "BAD_REQUEST"


class InvalidField(CallerError):
    """A field has a value that is not allowed."""

    code = "INVALID_FIELD"

    def __init__(self, text: str, *, field: str) -> None:
        super().__init__(text)
        self.field = field

    def __reduce__(self) -> tuple[object, ...]:
        return functools.partial(InvalidField, field=self.field), (str(self),)


class NoFile(CallerError):
    """No file uploaded"""

    code = "NO_FILE"


class UndecodableAudio(CallerError):
    """The file is audio by name but cannot be decoded."""

    code = "UNDECODABLE"


class SilentAudio(CallerError):
    """Audio file is silent"""

    code = "SILENT"


class NotAudio(CallerError):
    """The file is not audio in a format we read."""

    code = "NOT_AUDIO"


class BodyTooLarge(CallerError):
    """The body is larger than the limit."""

    code = "TOO_LARGE"


class AudioTooLong(CallerError):
    """The recording is longer than the limit."""

    code = "TOO_LONG"


class ClientGone(CallerError):
    """The client hung up before its answer was ready."""

    code = "CLIENT_GONE"


class UnknownDeployment(CallerError):
    """No deployment has this name."""

    code = "UNKNOWN_DEPLOYMENT"


class ConfigError(CallerError):
    """A setting is unknown or out of range."""

    code = "CONFIG"


# --- overload: try again --------------------------------------------------------------------------------------------


class OverloadError(EngineError):
    """More work than the engine can take just now."""

    code = "OVERLOADED"
    retryable = True


class QueueFull(OverloadError):
    """The request queue is full."""

    code = "QUEUE_FULL"


class DeadlineExceeded(OverloadError):
    """The deadline passed before the answer was ready."""

    code = "DEADLINE_EXCEEDED"


# --- not ready ------------------------------------------------------------------------------------------------------


class NotReady(EngineError):
    """The engine is not ready to serve."""

    code = "NOT_READY"
    retryable = True


class DeploymentFailed(NotReady):
    """The model could not be started."""

    code = "DEPLOYMENT_FAILED"


class EngineClosed(NotReady):
    """The engine is shutting down."""

    code = "CLOSING"


class InheritedByFork(EngineClosed):
    """This process was forked from the one that attached to the engine: attach, or get a manager, in this one."""

    code = "FORKED"
    retryable = False


# --- the world broke ------------------------------------------------------------------------------------------------


class BrokenError(EngineError):
    """Something outside this process failed."""

    code = "BROKEN"


class ModelFailed(BrokenError):
    """The model raised an error for this input."""

    code = "MODEL_FAILED"


class NonFiniteOutput(BrokenError):
    """The model answered with something that is not a number."""

    code = "NON_FINITE_OUTPUT"


class ModelCrashed(BrokenError):
    """The model process died twice while it worked on this input."""

    code = "MODEL_CRASHED"


class FormUnavailable(BrokenError):
    """A model cannot be computed in this form here."""

    code = "FORM_UNAVAILABLE"


class OutOfMemory(BrokenError):
    """There is not enough memory for the shared segment."""

    code = "OUT_OF_MEMORY"


class StateNotWritten(BrokenError):
    """What an order asks for cannot be written down, so it is not begun."""

    code = "STATE_NOT_WRITTEN"
    retryable = True


class StoreUnavailable(BrokenError):
    """A store cannot be used just now."""

    code = "STORE_UNAVAILABLE"
    retryable = True


class StoreAway(StoreUnavailable):
    """A store does not answer, and is not asked just now."""

    code = "STORE_AWAY"


class StoreDenied(StoreUnavailable):
    """A store does not let us do what we have to: somebody must grant it."""

    code = "STORE_DENIED"


class LoginRefused(StoreDenied):
    """A store does not let us in: user, password or database is wrong."""

    code = "LOGIN_REFUSED"


class SchemaTooNew(StoreUnavailable):
    """A newer version has changed the tables of a store: this one leaves them alone."""

    code = "SCHEMA_TOO_NEW"


class PoolExhausted(StoreUnavailable):
    """No connection of the pool became free in time."""

    code = "POOL_EXHAUSTED"


class PeerGone(BrokenError):
    """The other end of a control connection is gone."""

    code = "PEER_GONE"
    retryable = True


class ProtocolError(BrokenError):
    """A peer spoke another version, or nonsense."""

    code = "PROTOCOL"


class MixedLayouts(ProtocolError):
    """Releases that lay shared memory out in different ways have met."""

    code = "MIXED_LAYOUTS"


class UnsupportedPlatform(BrokenError):
    """The engine runs on x86-64 Linux only for now."""

    code = "UNSUPPORTED_PLATFORM"


class TuningDamaged(BrokenError):
    """What trials of a model had found is on disk no more, or not all of it."""

    code = "TUNING_DAMAGED"


class TrialsFailed(BrokenError):
    """Forms of a model could not be tried."""

    code = "TRIALS_FAILED"


class SupervisorRunning(BrokenError):
    """Another supervisor already runs in this runtime directory."""

    code = "SUPERVISOR_RUNNING"


# --- our bug --------------------------------------------------------------------------------------------------------


class InternalError(EngineError):
    """An assumption of ours does not hold."""

    code = "INTERNAL"


def error_of(code: str, text: str) -> EngineError:
    """The error that another process names by its code; BrokenError for codes this version does not know."""
    kind = _BY_CODE.get(code)
    if kind is None or kind is InvalidField:
        return BrokenError(text)
    return kind(text)


def _all_kinds(root: type[EngineError]) -> list[type[EngineError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in _all_kinds(child))]


_BY_CODE = {kind.code: kind for kind in reversed(_all_kinds(EngineError))}
