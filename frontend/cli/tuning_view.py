"""What `nightscan status` shows of tuning: for each deployment a line, and the forms that were tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

HEADS = ("tuning", "form", "items/s", "largest difference", "note")
_QUIET = ("off", "idle", "")  # there is nothing to say


def tuning_rows(status: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """A row for each deployment that is tuned or was, then one for each form."""
    for deployment in status.get("deployments", []):
        tuning = deployment.get("tuning", {})
        if tuning.get("state", "") in _QUIET:
            continue
        yield str(deployment["deployment"]), str(tuning["form"]), "", "", _summary(tuning)
        for candidate in tuning["candidates"]:
            yield _candidate_row(candidate, tuning)


def _summary(tuning: Mapping[str, Any]) -> str:
    state = str(tuning["state"])
    if tuning.get("stage"):
        state += f" ({tuning['stage']})"
    if tuning.get("speedup") and state == "won":
        state += f", {tuning['speedup']:.2f} times as fast"
    return f"{state}: {tuning['reason']}" if tuning["reason"] else state


def _candidate_row(candidate: Mapping[str, Any], tuning: Mapping[str, Any]) -> tuple[str, ...]:
    speed, agreement = candidate["items_per_s"], candidate["agreement"]
    return (
        "",
        str(candidate["form"]),
        "" if speed is None else f"{speed:.1f}",
        "" if agreement is None else f"{agreement['largest']:.1e}",
        _note(candidate, tuning),
    )


def _note(candidate: Mapping[str, Any], tuning: Mapping[str, Any]) -> str:
    if candidate["form"] == tuning["form"]:
        return "serves"
    if candidate["refused"]:
        return str(candidate["refused"])
    if candidate["needs"]:
        return f"precision={candidate['needs']} would let it serve"
    return "" if candidate["state"] == "done" else str(candidate["state"])
