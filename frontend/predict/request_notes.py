"""What is remembered of every answer of a prediction route: for `/requests`, and for traces.

Written when the answer is worded, by one copy into the ring of this process; read by whoever wants to, never by the
request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.errors import EngineError, InternalError
from engine.observe.answered import AnsweredRequest
from engine.stores.cache_value import Computed
from frontend.predict.dialect import Prediction
from frontend.predict.timing import RequestTiming
from frontend.predict.trace_context import trace_of
from frontend.server.message import HttpRequest, HttpResponse


class RequestNotes:
    """Of one route. `remember`: where it is kept."""

    def __init__(self, route: str, remember: Callable[[AnsweredRequest], None]) -> None:
        self._route = route
        self._remember = remember

    def answered(
        self, prediction: Prediction, answers: Sequence[Computed], request: HttpRequest, timing: RequestTiming
    ) -> None:
        """The 200 of a prediction."""
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
                trace_of(request.headers),
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
