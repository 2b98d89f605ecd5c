"""What a handler has begun and not finished: something to wait for, and the answer after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.client import EngineClient, Item, Ticket
from engine.clock import NS_PER_S
from engine.errors import ClientGone, EngineError, NotReady
from engine.stores.lookup import Lookup
from frontend.predict.answering import Answering
from frontend.predict.context import Inquiry
from frontend.predict.dialect import Prediction
from frontend.server.message import HttpRequest, HttpResponse

# What frontend and instance take for handing over one request, besides the computing: about what a small model's
# requests take of two cores, less what answers from the cache do.
_HANDED_OVER_NS = 400_000


class Pending(Protocol):
    """A request that is under way. Whoever drops it without finishing must cancel it."""

    @property
    def deadline_ns(self) -> int:
        """When the answer is due."""

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        """Calls back, in any thread, when there is nothing to wait for but what `finish` itself still has to ask."""

    def finish_at_once(self) -> HttpResponse | Pending | None:
        """The response, or what is to be waited for next; None, and nothing is done, where `finish` would wait or take
        long."""

    def finish(self) -> HttpResponse | Pending:
        """Waits in this thread, then the same."""

    def cancel(self) -> None:
        """Nobody wants the answer any more."""


def finished(begun: Pending | HttpResponse) -> HttpResponse:
    """The response, waited for in this thread, whatever has to be waited for on the way."""
    while not isinstance(begun, HttpResponse):
        begun = begun.finish()
    return begun


@dataclass(slots=True)
class PendingPrediction(Prediction):
    """Submitted: the engine has it. With a `lookup`, what it answers is kept, and whoever waits for the same gets it.
    """

    answering: Answering
    request: HttpRequest
    client: EngineClient
    lookup: Lookup | None
    ticket: Ticket

    @property
    def deadline_ns(self) -> int:
        """When the answer is due."""
        return self.ticket.deadline_ns

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        self.ticket.add_done_callback(callback)

    def finish_at_once(self) -> HttpResponse | Pending | None:
        ticket = self.ticket
        is_quick = ticket.error is not None or ticket.done and self.answering.is_quickly_worded(self)
        return self.finish() if is_quick else None

    def finish(self) -> HttpResponse | Pending:
        try:
            answers = self.ticket.wait()
            is_swapped = self.ticket.is_of_two_models or self.ticket.model is not self.description
            if is_swapped:
                self._follow_swap()
            if self.lookup is not None:
                self._keep(self.lookup, answers, is_swapped)
            return self.answering.answer(self, answers, self.request)
        except Exception as error:  # whatever went wrong is the request's answer; the log has the traceback
            if self.lookup is not None:
                self.lookup.fail(error)
            return self._failed(error)

    def cancel(self) -> None:
        self.ticket.cancel()
        if self.lookup is not None:
            self.lookup.let_go()

    def _keep(self, lookup: Lookup, answers: Sequence[Item], is_swapped: bool) -> None:
        self.client.count("cache_misses", deployment_id=self.parameters.deployment)
        if is_swapped:
            lookup.keep_nothing()
        else:
            lookup.keep(self.recording, self.windows, answers, cost_ns=self._cost_ns(answers))

    def _cost_ns(self, answers: Sequence[Item]) -> int:
        """About what an answer from the cache would have saved."""
        request = self.request
        compute_s = sum([answer.compute_s / answer.batch_size for answer in answers])
        decode_ns = self.decoded_ns - request.complete_ns - request.cache_ns
        return int(compute_s * NS_PER_S) + max(0, decode_ns) + _HANDED_OVER_NS

    def _follow_swap(self) -> None:
        """Another version has answered than the one that was asked: its answer is worded with its own labels."""
        model = self.ticket.model
        if model is None:
            return
        if self.ticket.is_of_two_models and model.labels != self.description.labels:
            raise NotReady("the model was replaced by one of other classes while it listened: send the file again")
        self.description = model

    def _failed(self, error: Exception) -> HttpResponse | Pending:
        if isinstance(error, EngineError) and self.answering.falls_back(error):
            return PendingOriginal(self.answering, self.request, self.request_id, error)
        return self.answering.refuse(error, self.request, self.request_id)


class PendingOriginal:
    """Not submitted: the original API is asked, from the moment when somebody waits for it."""

    def __init__(self, answering: Answering, request: HttpRequest, request_id: str, error: EngineError) -> None:
        """`error`: why the engine did not answer; the client is told of it where the original does not either."""
        self._answering = answering
        self._request = request
        self._request_id = request_id
        self._error = error.with_traceback(None)  # it leads to frames that hold the upload
        self._asked: Inquiry | None = None
        self._is_unwanted = False

    @property
    def deadline_ns(self) -> int:
        """When the answer is due."""
        return self._answering.deadline_ns(self._request)

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        self._ask().add_done_callback(lambda: callback(self))

    def finish_at_once(self) -> HttpResponse | Pending | None:
        return self.finish() if self._asked is not None and self._asked.is_done else None

    def finish(self) -> HttpResponse | Pending:
        asked = None if self._is_unwanted else self._ask()
        if asked is None:
            return self._answering.refuse(ClientGone(), self._request, self._request_id)
        return self._answering.original_answer(asked, self._error, self._request, self._request_id)

    def cancel(self) -> None:
        self._is_unwanted = True  # first: whoever is told of the end must not take it for the original's failure
        if self._asked is not None:
            self._asked.cancel()

    def _ask(self) -> Inquiry:
        if self._asked is None:
            self._asked = self._answering.ask_original(self._request)
        return self._asked
