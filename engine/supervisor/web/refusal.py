"""What the status server refuses before anything is done, and how errors of the engine are told over HTTP."""

from __future__ import annotations

from engine import errors


class StatusRefusal(Exception):
    """The status server does not do that. Never leaves it."""

    def __init__(self, status: int, code: str, text: str, **headers: str) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


_STATUS: tuple[tuple[type[errors.EngineError], int], ...] = (  # the first that fits
    (errors.InvalidField, 422),
    (errors.UnknownDeployment, 404),
    (errors.CallerError, 400),
    (errors.OverloadError, 503),
    (errors.DeploymentFailed, 409),  # the model cannot be started: trying again as it is does not help
    (errors.NotReady, 503),
    (errors.StateNotWritten, 503),
    (errors.EngineError, 500),
)


def status_of(error: errors.EngineError | StatusRefusal) -> int:
    """The HTTP status of what an order ended with."""
    if isinstance(error, StatusRefusal):
        return error.status
    return next(status for kind, status in _STATUS if isinstance(error, kind))
