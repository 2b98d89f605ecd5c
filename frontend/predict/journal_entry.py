"""One row of the journal for each answer of a prediction route, written before the answer's first byte leaves.

Answers, what the original API answered instead, and failures of ours (5xx) have one; refusals for which the caller is
to blame, or overload, are only counted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.clock import NS_PER_S, now_ns
from engine.errors import EngineError, InternalError
from engine.stores.cache_value import Computed
from engine.stores.journal_record import TOP, JournalRow, JournalSegment
from engine.stores.spool import JournalWriter
from frontend.predict.answers import rank
from frontend.predict.dialect import Prediction
from frontend.server.message import HttpRequest, HttpResponse

_OURS = 500  # from this status on


class JournalEntries:
    """Of one route. `writer`: this process's, asked each time; None while it keeps no journal."""

    def __init__(self, route: str, writer: Callable[[], JournalWriter | None]) -> None:
        self._route = route
        self._writer = writer

    def answered(
        self, prediction: Prediction, answers: Sequence[Computed], request: HttpRequest, latency_s: float
    ) -> None:
        """The 200 of a prediction."""
        writer = self._writer()
        if writer is None:
            return
        parameters, description, upload = prediction.parameters, prediction.description, request.upload
        row = JournalRow(
            *writer.next_key(),
            prediction.request_id,
            parameters.deployment,
            description.model_version,
            self._route,
            200,
            "ok",
            "",
            prediction.filename,
            0 if upload is None else len(upload.data),
            prediction.recording.duration_s,
            latency_s,
            prediction.cached,
            request.client_address,
            parameters.priority,
            _segments(prediction, answers),
        )
        writer.record(row)

    def refused(self, error: BaseException, response: HttpResponse, request: HttpRequest, request_id: str) -> None:
        """The answer for `error`; a row only where we are to blame."""
        if response.status >= _OURS:
            code = error.code if isinstance(error, EngineError) else InternalError.code
            self._without_windows(response.status, "error", code, request, request_id)

    def fell_back(self, error: EngineError, response: HttpResponse, request: HttpRequest, request_id: str) -> None:
        """What the original API answered, because of `error`."""
        self._without_windows(response.status, "fallback", error.code, request, request_id)

    def _without_windows(
        self, status: int, outcome: str, code: str, request: HttpRequest, request_id: str
    ) -> None:
        writer = self._writer()
        if writer is None:
            return
        upload = request.upload
        row = JournalRow(
            *writer.next_key(),
            request_id,
            route=self._route,
            status=status,
            outcome=outcome,
            error_code=code,
            file="" if upload is None else upload.filename,
            size_bytes=len(request.body) if upload is None else len(upload.data),
            latency_s=(now_ns() - request.arrival_ns) / NS_PER_S,
            client=request.client_address,
        )
        writer.record(row)


def _segments(prediction: Prediction, answers: Sequence[Computed]) -> list[JournalSegment]:
    labels = prediction.description.labels
    return [
        (
            window.index,
            window.start_s,
            window.end_s,
            [(labels[index], probability) for index, probability in rank(answer.probabilities, TOP)],
        )
        for window, answer in zip(prediction.windows, answers)
    ]
