"""Which errors have the original API asked in the engine's place: all there are, one by one."""

from __future__ import annotations

import pytest

import frontend.app  # noqa: F401  every module that has errors of its own is loaded
from engine import errors
from frontend.predict.falling_back import falls_back
from tests.routes.test_errors import all_errors, made

THE_ENGINE_DOES_NOT_SERVE = {
    "NotReady", "DeploymentFailed", "EngineClosed", "InheritedByFork",  # not ready, failed, closing
    "BrokenError", "OutOfMemory", "StateNotWritten", "PeerGone", "ProtocolError", "UnsupportedPlatform",
    "SupervisorRunning", "TuningDamaged", "TrialsFailed", "FormUnavailable", "MixedLayouts",
}  # fmt: skip
IT_SERVES = {
    "EngineError", "InternalError",  # a bug of ours is to be seen
    "ModelFailed", "NonFiniteOutput", "ModelCrashed",  # the input's doing, which would break another as well
    "OverloadError", "QueueFull", "DeadlineExceeded", "RateLimited", "TooManyUploads", "RoomNeeded",
}  # fmt: skip


def errors_of_requests() -> list[type[errors.EngineError]]:
    """Without those of instances, which other tests may have loaded and no frontend ever sees."""
    return sorted((kind for kind in set(all_errors()) if not kind.__module__.startswith("engine.instance")), key=str)


@pytest.mark.parametrize("kind", errors_of_requests())
def test_the_original_is_asked_while_the_engine_does_not_serve_and_else_never(kind: type[errors.EngineError]) -> None:
    is_of_a_store = issubclass(kind, errors.StoreUnavailable)  # no request ends with one, but if it did
    known = THE_ENGINE_DOES_NOT_SERVE | IT_SERVES
    assert is_of_a_store or issubclass(kind, errors.CallerError) or kind.__name__ in known, "a new error: decide"
    assert falls_back(made(kind)) is (is_of_a_store or kind.__name__ in THE_ENGINE_DOES_NOT_SERVE)


@pytest.mark.parametrize("error", [KeyError("a bug"), OSError("disk"), MemoryError(), RuntimeError()])
def test_what_is_no_error_of_the_engine_is_a_bug_and_is_seen(error: Exception) -> None:
    assert not falls_back(error)


def test_the_table_names_no_error_that_is_gone() -> None:
    assert (THE_ENGINE_DOES_NOT_SERVE | IT_SERVES) - {kind.__name__ for kind in all_errors()} == set()
