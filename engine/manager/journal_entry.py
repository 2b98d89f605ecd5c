"""One row of the journal for each answer of a manager's `predict`, written before its caller has it."""

from __future__ import annotations

from engine.client import EngineClient
from engine.errors import (
    CallerError,
    DeadlineExceeded,
    EngineError,
    InvalidField,
    NotReady,
    OverloadError,
    error_of,
)
from engine.manager.results import Result
from engine.stores.journal_record import JournalRow, JournalSegment
from engine.stores.spool import JournalWriter

_ROUTE = "predict"
_MOST_PRIORITY = 100  # infinity is one, too


def record_prediction(
    writer: JournalWriter,
    client: EngineClient,
    *,
    deployment_id: str,
    result: Result,
    priority: float,
    latency_s: float,
) -> None:
    """Nothing for what is the caller's fault, or overload: that is only counted."""
    code = str(result.get("code", "")) if "error" in result else ""
    status = _status_of(code) if code else 200
    if status is None:
        return
    model_version, segments = "", list[JournalSegment]()
    if status == 200:
        model_version, duration_s = _model_of(client, deployment_id)
        segments = [(0, 0.0, duration_s, _top(result))]
    row = JournalRow(
        *writer.next_key(),
        request_id=str(result.get("request_id", "")),
        deployment=deployment_id,
        model_version=model_version,
        route=_ROUTE,
        status=status,
        outcome="error" if code else "ok",
        error_code=code,
        latency_s=latency_s,
        priority=int(max(-_MOST_PRIORITY, min(_MOST_PRIORITY, priority))),
        segments=segments,
    )
    writer.record(row)


def _status_of(code: str) -> int | None:
    """As over HTTP; None: not ours."""
    error = error_of(code, "")
    if isinstance(error, DeadlineExceeded):
        return 504
    if code == InvalidField.code or isinstance(error, (CallerError, OverloadError)):
        return None
    return 503 if isinstance(error, NotReady) else 500


def _model_of(client: EngineClient, deployment_id: str) -> tuple[str, float]:
    """Version and window in seconds; nothing of a deployment that is gone by now."""
    try:
        description = client.description(deployment_id)
    except EngineError:
        return "", 0.0
    return description.model_version, float(description.segment_s)


def _top(result: Result) -> list[tuple[str, float]]:
    """What a foreign cache has given back need not be what we gave it."""
    top = result.get("top_predictions")
    ranked = top if isinstance(top, list) else []
    return [
        (str(each.get("label", "")), float(probability))
        for each in ranked
        if isinstance(each, dict) and isinstance(probability := each.get("probability"), (int, float))
    ]
