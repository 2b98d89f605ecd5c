"""The response half of a prediction route: answers and refusals in its dialect, and the original API in its place."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence

from engine.client import EngineClient, Item
from engine.clock import NS_PER_S, now_ns
from engine.errors import BrokenError, EngineError
from engine.stores.cache_value import Computed
from engine.stores.journal_record import TOP
from frontend.predict.context import Inquiry, RouteContext
from frontend.predict.dialect import Dialect, Prediction
from frontend.predict.falling_back import falls_back
from frontend.predict.journal_entry import JournalEntries
from frontend.predict.parameters import deadline_of
from frontend.predict.request_notes import RequestNotes
from frontend.predict.timing import timing_of_computed, timing_of_known, timing_of_other
from frontend.server.message import HttpRequest, HttpResponse

# What an event loop does itself; each bound is some milliseconds of work, ordinary recordings stay far below.
QUICK_PROBABILITIES = 50_000  # to be ranked
QUICK_LISTED = 2_000  # predictions to be worded

_LOG = logging.getLogger(__name__)


class Answering:
    """Stateless but for its settings: any thread may call it."""

    def __init__(self, dialect: Dialect, context: RouteContext) -> None:
        self._dialect = dialect
        self._context = context
        self._complete = functools.partial(context.complete, endpoint=dialect.endpoint)
        self._is_logged = dialect.endpoint == "legacy"
        self._journal = JournalEntries(dialect.endpoint, lambda: context.journal)
        self._notes = RequestNotes(
            dialect.endpoint, context.remember, context.remembers, slow_ms=context.settings.slow_request_ms
        )

    def is_quickly_worded(self, prediction: Prediction) -> bool:
        """Whether an event loop may format the answer."""
        windows, classes = len(prediction.windows), prediction.description.classes
        listed = windows * min(max(prediction.parameters.top_k, TOP), classes)  # the journal lists TOP of each
        return windows * classes <= QUICK_PROBABILITIES and listed <= QUICK_LISTED

    def answer(self, prediction: Prediction, answers: Sequence[Item], request: HttpRequest) -> HttpResponse:
        """The 200, with its timing."""
        total_s = (now_ns() - request.arrival_ns) / NS_PER_S
        response = self._dialect.success(prediction, answers, total_s)
        if self._is_logged:
            self._context.predict_log.write(response.body)
        self._journal.answered(prediction, answers, request, total_s)
        timing = timing_of_computed(prediction, answers, request, now_ns())
        response.headers.append(("Server-Timing", timing.header()))
        self._notes.answered(prediction, answers, request, timing)
        return self._complete(
            response, request, prediction.request_id, recording_s=prediction.recording.duration_s
        )

    def known(
        self, prediction: Prediction, answers: Sequence[Computed], request: HttpRequest, client: EngineClient
    ) -> HttpResponse:
        """The 200 of a prediction that was not computed for this request. Raises InvalidField where it is too long."""
        parameters = prediction.parameters
        self._dialect.check_length(len(prediction.windows), parameters, prediction.description)
        total_ns = now_ns() - request.arrival_ns
        total_s = total_ns / NS_PER_S
        response = self._dialect.success(prediction, answers, total_s)
        if self._is_logged:
            self._context.predict_log.write(response.body)
        client.count_cached(parameters.deployment, total_ns)
        self._journal.answered(prediction, answers, request, total_s)
        timing = timing_of_known(request, now_ns())
        response.headers.append(("Server-Timing", timing.header()))
        self._notes.answered(prediction, answers, request, timing)
        return self._complete(
            response, request, prediction.request_id, recording_s=prediction.recording.duration_s
        )

    def refuse(self, error: BaseException, request: HttpRequest, request_id: str) -> HttpResponse:
        """The answer for `error`, with what time it took."""
        response = self._dialect.failure(error, request_id)
        if response.status == 500 or isinstance(error, BrokenError):
            told = {"request_id": request_id, "repeat_key": (type(error), str(error))}
            _LOG.error("request %s: %s", request_id, error, exc_info=error, extra=told)
        self._journal.refused(error, response, request, request_id)
        timing = timing_of_other(request, now_ns())
        response.headers.append(("Server-Timing", timing.header()))
        self._notes.other(error, response, request, request_id, timing)
        return self._complete(response, request, request_id)

    def falls_back(self, error: BaseException) -> bool:
        """Whether the original API is to answer: the engine does not serve, and there is another.

        Where optimized serving is switched off its own route says so, since the original answers in another form.
        """
        switched_off = self._dialect.endpoint == "optimized" and not self._context.settings.enabled
        return falls_back(error) and self._context.original is not None and not switched_off

    def ask_original(self, request: HttpRequest) -> Inquiry:
        """Begins to ask the original API, and returns."""
        assert self._context.original is not None
        return self._context.original(request)

    def original_answer(
        self, asked: Inquiry, error: EngineError, request: HttpRequest, request_id: str
    ) -> HttpResponse:
        """What it has answered, or our answer for `error` where it has none either. Waits for it."""
        response = asked.response()
        self._context.count_fallback(asked.outcome)
        if response is None:
            return self.refuse(error, request, request_id)
        self._journal.fell_back(error, response, request, request_id)
        self._notes.other(error, response, request, request_id, timing_of_other(request, now_ns()))
        return self._complete(response, request, request_id)

    def deadline_ns(self, request: HttpRequest) -> int:
        """When the answer is due."""
        return deadline_of(request, self._context.settings).at_ns
