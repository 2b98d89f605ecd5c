"""What the status server answers to which path."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from engine.config import Settings
from engine.errors import InvalidField
from engine.observe.exposition import CONTENT_TYPE, exposition
from engine.observe.recent_requests import recent_requests
from engine.supervisor.web.access import Access
from engine.supervisor.web.admin_token import AdminToken
from engine.supervisor.web.answer import StatusAnswer, error_answer, json_answer
from engine.supervisor.web.connection import StatusConnection
from engine.supervisor.web.document import document_of
from engine.supervisor.web.orders import OrderDesk
from engine.supervisor.web.page import PageFiles
from engine.supervisor.web.refusal import StatusRefusal
from engine.supervisor.web.request import StatusRequest
from engine.supervisor.web.snapshot import Snapshot
from engine.supervisor.web.streams import EventStreams

Route = Callable[[StatusRequest], StatusAnswer]


class StatusRoutes:
    """For the thread of the status server."""

    def __init__(
        self,
        settings: Settings,
        token: AdminToken,
        desk: OrderDesk,
        snapshot: Callable[[], Snapshot | None],
        after_round: Callable[[Callable[[], object]], object],
    ) -> None:
        """`after_round` calls once all requests are answered that have arrived by now."""
        self.access = Access(token.value, settings.status_hosts.split(","))
        self._settings = settings
        self._latest = snapshot
        self._page = PageFiles()
        self._desk = desk
        self.streams = EventStreams(snapshot)
        self._after_round = after_round
        self._found: dict[tuple[str, bool], StatusAnswer] = {}  # in this round, by path and whether with the token
        self._looks: dict[str, Route] = {
            "/status": self._status,
            "/metrics": self._metrics,
            "/healthz": self._healthz,
            "/requests": self._requests,
            "/events": lambda _: self.streams.head,
        }

    def answer(self, request: StatusRequest, connection: StatusConnection) -> StatusAnswer | None:
        """The answer to a request that `access` has let through; None if it comes later."""
        try:
            if request.path in OrderDesk.paths:
                self._order(request, connection)
                return None
            if request.path == "/events" and request.method == "GET":
                return self.streams.open(connection, whole=self.access.has_token(request))
            return self._route(request)
        except (StatusRefusal, InvalidField) as refusal:
            return error_answer(refusal)

    def _order(self, request: StatusRequest, connection: StatusConnection) -> None:
        if request.method != "POST":
            raise StatusRefusal(405, "METHOD_NOT_ALLOWED", "an order is given by POST", Allow="POST")
        if self._snapshot().is_stalled:
            raise StatusRefusal(503, "STALLED", "the supervisor's loop stands still: it would not hear of the order")
        answered = functools.partial(connection.answer_later, request)
        self._desk.take(request.path, bytes(request.body), answered)

    def _route(self, request: StatusRequest) -> StatusAnswer:
        look = self._looks.get(request.path)
        file = self._page.get(request.path)
        if look is None and file is None:
            raise StatusRefusal(404, "NOT_FOUND", "nothing is here")
        if not request.only_looks:
            raise StatusRefusal(405, "METHOD_NOT_ALLOWED", "this can only be looked at", Allow="GET, HEAD")
        if look is not None:
            return self._look(look, request)
        assert file is not None
        return file

    def _look(self, look: Route, request: StatusRequest) -> StatusAnswer:
        """Found out once for all who ask at the same moment: of a hundred the last would else wait for seconds."""
        key = (request.path, self.access.has_token(request))
        if not self._found:
            self._after_round(self._found.clear)
        if key not in self._found:
            self._found[key] = look(request)
        return self._found[key]

    def _snapshot(self) -> Snapshot:
        """Raises StatusRefusal."""
        snapshot = self._latest()
        if snapshot is None:
            raise StatusRefusal(503, "STARTING", "the supervisor starts")
        return snapshot

    def _status(self, request: StatusRequest) -> StatusAnswer:
        return json_answer(document_of(self._snapshot(), whole=self.access.has_token(request)))

    def _metrics(self, request: StatusRequest) -> StatusAnswer:
        snapshot = self._snapshot()
        if snapshot.counted is None:
            raise StatusRefusal(503, "STARTING", "processes of the supervisor before this one have still to come back")
        text = exposition(snapshot.counted, self._settings, snapshot.totals(), snapshot.seats())
        return StatusAnswer(200, text, CONTENT_TYPE)

    def _healthz(self, request: StatusRequest) -> StatusAnswer:
        """Whether the supervisor's loop goes round; that of what it serves is said by /status."""
        snapshot = self._snapshot()
        figures: dict[str, Any] = {"age_s": round(snapshot.age_s, 3)}
        if snapshot.is_stalled:
            return json_answer({"status": "stalled", **figures}, 503, Retry_After="1")
        states = {each["deployment"]: each["state"] for each in snapshot.state["deployments"]}
        return json_answer({"status": "ok", **figures, "deployments": states})

    def _requests(self, request: StatusRequest) -> StatusAnswer:
        self.access.demand_token(request)
        machine = self._snapshot().machine
        return json_answer(recent_requests([] if machine is None else machine.answered()))
