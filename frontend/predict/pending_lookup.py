"""A recording that is ready to be computed, unless the answer comes from elsewhere first.

It waits for Redis, or for another request that computes the same. Neither takes a slot of the engine or a thread; its
own deadline holds, and its client may hang up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.client import EngineClient
from engine.clock import Deadline, now_ns
from engine.errors import DeadlineExceeded, EngineError
from engine.stores.cache_value import CacheValue
from engine.stores.lookup import Lookup, Standing
from frontend.predict.answering import Answering
from frontend.predict.dialect import Prediction
from frontend.predict.pending import Pending, PendingOriginal, PendingPrediction
from frontend.server.message import HttpRequest, HttpResponse

Submit = Callable[[], PendingPrediction]


@dataclass(slots=True)
class PendingLookup(Prediction):
    """Asked for. Once there is nothing to wait for, `finish` answers, or submits what is ready."""

    answering: Answering
    request: HttpRequest
    client: EngineClient
    lookup: Lookup
    deadline: Deadline
    submit: Submit | None  # None: it is found already

    @property
    def deadline_ns(self) -> int:
        """When the answer is due."""
        return self.deadline.at_ns

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        self.lookup.add_done_callback(callback)

    def finish_at_once(self) -> HttpResponse | Pending | None:
        return self._next(quick=True)

    def finish(self) -> HttpResponse | Pending:
        self.lookup.wait()
        begun = self._next(quick=False)
        assert begun is not None  # nobody asked it to be quick
        return begun

    def cancel(self) -> None:
        self.lookup.let_go()

    def _next(self, *, quick: bool) -> HttpResponse | Pending | None:
        try:
            standing = self.lookup.advance(self.parameters.level, self.deadline.at_ns)
            if standing is Standing.WAITING:
                return self
            if (value := self.lookup.found) is not None:
                return self._known(value, quick)
            if standing is Standing.FAILED:
                raise self.lookup.failure()
            return self._submitted()
        except Exception as error:  # whatever went wrong is the request's answer; the log has the traceback
            self.lookup.let_go()
            return self._failed(error)

    def _known(self, value: CacheValue, quick: bool) -> HttpResponse | None:
        self.recording, self.windows, self.cached = value.recording, value.windows, self.lookup.origin
        if quick and not self.answering.is_quickly_worded(self):
            return None
        self._waited()
        return self.answering.known(self, value.answers, self.request, self.client)

    def _submitted(self) -> Pending:
        assert self.submit is not None
        waited_ns = self._waited()
        pending = self.submit()
        pending.decoded_ns += waited_ns
        return pending

    def _waited(self) -> int:
        """What was waited since the recording was ready counts as the cache's time; so many nanoseconds."""
        waited_ns = now_ns() - self.decoded_ns
        self.request.cache_ns += waited_ns
        return waited_ns

    def _failed(self, error: Exception) -> HttpResponse | Pending:
        if isinstance(error, DeadlineExceeded):
            self.client.count("expired", deployment_id=self.parameters.deployment)
        if isinstance(error, EngineError) and self.answering.falls_back(error):
            return PendingOriginal(self.answering, self.request, self.request_id, error)
        return self.answering.refuse(error, self.request, self.request_id)
