"""What is remembered of the answers of a prediction route: for `/requests`, and for traces.

Written when the answer is worded, by one copy into the ring of this process; read by whoever wants to, never by the
request. Of a flood of ordinary answers few are written; failures, the slowest, and what its caller traces always are.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from engine.clock import LAST_NS, NS_PER_MS
from engine.errors import EngineError, InternalError
from engine.observe.answered import AnsweredRequest
from engine.stores.cache_value import Computed
from frontend.predict.dialect import Prediction
from frontend.predict.timing import RequestTiming
from frontend.predict.trace_context import trace_of
from frontend.server.message import HttpRequest, HttpResponse

_LOG = logging.getLogger(__name__)


class RequestNotes:
    """Of one route. `slow_ms`: from there on it is logged as well; 0: never."""

    def __init__(
        self,
        route: str,
        remember: Callable[[AnsweredRequest], None],
        remembers: Callable[[int, int], bool],
        *,
        slow_ms: int,
    ) -> None:
        """`remember`: where it is kept; `remembers`: whether an ordinary one is, by its time and its end."""
        self._route = route
        self._remember = remember
        self._remembers = remembers
        self._slow_ns = slow_ms * NS_PER_MS or LAST_NS

    def answered(
        self, prediction: Prediction, answers: Sequence[Computed], request: HttpRequest, timing: RequestTiming
    ) -> None:
        """The 200 of a prediction."""
        if timing.total_ns >= self._slow_ns:
            self._log_slow(200, prediction.request_id, request, timing)
        trace = trace_of(request.headers)
        is_traced = trace is not None and trace.is_sampled
        if not self._remembers(timing.total_ns, timing.end_ns) and not is_traced:
            return
        batch_size = answers[0].batch_size if len(answers) == 1 else max([each.batch_size for each in answers])
        self._remember(
            AnsweredRequest(
                *timing,
                200,
                0 if prediction.cached else batch_size,
                self._route,
                "",
                prediction.cached,
                prediction.request_id,
                prediction.parameters.deployment,
                prediction.description.model_version,
                prediction.filename,
                trace,
            )
        )

    def other(
        self,
        error: BaseException,
        response: HttpResponse,
        request: HttpRequest,
        request_id: str,
        timing: RequestTiming,
    ) -> None:
        """The answer for `error`, or what the original API answered because of it."""
        self._remember(
            AnsweredRequest(
                *timing,
                response.status,
                0,
                self._route,
                error.code if isinstance(error, EngineError) else InternalError.code,
                "",
                request_id,
                request.deployment,
                "",
                "" if request.upload is None else request.upload.filename,
                trace_of(request.headers),
            )
        )
        if timing.total_ns >= self._slow_ns:
            self._log_slow(response.status, request_id, request, timing)

    def _log_slow(self, status: int, request_id: str, request: HttpRequest, timing: RequestTiming) -> None:
        told = {
            "request_id": request_id,
            "client": request.client_address,
            "status": status,
            "duration_ms": round(timing.total_ns / NS_PER_MS, 1),
            "repeat_key": ("slow", self._route, status),
        }
        _LOG.warning("slow request %s of %s: %s", request_id, self._route, timing.header(), extra=told)
