"""Orders to the engine of these settings. A supervisor that is deaf is found out before anybody waits for it long."""

from __future__ import annotations

from typing import Any

from engine.client.admin import ask
from engine.config import load_settings
from engine.errors import DeadlineExceeded, DeploymentFailed, NotReady, PeerGone
from frontend.cli.verdict import last_line

STATUS_S = 3.0  # a supervisor answers within milliseconds; one that takes longer is stalled
ORDER_S = 600.0  # deploying loads and warms a model


def order(op: str, *, within_s: float = ORDER_S, **fields: Any) -> dict[str, Any]:
    """The answer to an order. Raises NotReady with the next thing to do, DeadlineExceeded, or what the engine says."""
    runtime_dir = load_settings().runtime_dir
    try:
        ask(runtime_dir, "status", timeout_s=STATUS_S)
    except NotReady as error:
        raise NotReady(
            f"{error}; start one: nightscan serve, or name the folder of another: --runtime-dir FOLDER"
        ) from error
    except (DeadlineExceeded, PeerGone) as error:
        raise DeadlineExceeded(
            f"the engine in {runtime_dir} does not answer within {STATUS_S:.0f} s; why: nightscan status"
        ) from error
    try:
        return ask(runtime_dir, op, timeout_s=within_s, **fields)
    except DeploymentFailed as error:  # the traceback above its last line is in the engine's log
        raise DeploymentFailed(last_line(error)) from error


def deployments() -> list[dict[str, Any]]:
    """As status has them."""
    found: list[dict[str, Any]] = ask(load_settings().runtime_dir, "status", timeout_s=STATUS_S)["deployments"]
    return found
