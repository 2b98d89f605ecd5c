"""One prediction over HTTP: request -> windows -> ticket -> answer, for every route and both ways in.

`PredictionRoute.begin` does all that needs no waiting: read the upload, decode, cut, submit. It returns a response (a
refusal), a `Pending`, whose `finish` waits and formats, or an `AwaitingRoom` for a long recording. None of them ever
raises an `Exception`: what goes wrong becomes the answer that the route's `Dialect` gives for it. No slot of the engine
is taken before the upload is complete and decoded, so a slow or broken sender holds none.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace

from engine.client import EngineClient, Item
from engine.clock import Deadline, now_ns
from engine.errors import EngineError, NotReady, UnknownDeployment
from engine.spec import DEFAULT_DEPLOYMENT_ID, ModelDescription
from engine.stores.cache_key import HASHED_INLINE_BYTES
from engine.stores.lookup import Lookup, Standing
from frontend.audio.decode import Recording
from frontend.audio.segment import Window
from frontend.predict.answering import Answering
from frontend.predict.context import RouteContext
from frontend.predict.cutter import Cutter, RoomNeeded
from frontend.predict.dialect import Dialect, upload_of
from frontend.predict.operation import Operation
from frontend.predict.parameters import Parameters, caller_hash_of, deadline_of, request_id_of
from frontend.predict.pending import Pending, PendingOriginal, PendingPrediction
from frontend.predict.pending_lookup import PendingLookup
from frontend.server.decoding_room import Room, patience_s
from frontend.server.message import HttpRequest, HttpResponse
from frontend.server.refusals import TooManyUploads

Begun = Pending | HttpResponse
_Asked = tuple[
    str, str, Parameters, ModelDescription, Recording, list[Window], int, Answering, HttpRequest, EngineClient
]


class PredictionRoute:
    """The handler of one prediction route. Stateless but for its settings: any thread may call it."""

    def __init__(self, dialect: Dialect, context: RouteContext) -> None:
        self._dialect = dialect
        self._context = context
        self._answering = Answering(dialect, context)
        self._cutter = Cutter(dialect, context.settings)
        self._has_cache = context.settings.cache_l1_mb > 0 or bool(context.settings.redis_url)

    def begin(
        self, request: HttpRequest, client: EngineClient | None, *, quick: bool = False
    ) -> Pending | HttpResponse | AwaitingRoom | None:
        """Everything up to the submission; takes as long as decoding takes. Never raises.

        `quick`: only if that is short enough for an event loop (a refusal, or a short recording that needs no work);
        else None is returned, and nothing is begun.
        """
        request_id = request_id_of(request.headers)
        try:
            return self._begin(request, request_id, client, quick)
        except RoomNeeded as error:
            wait_s = patience_s(self._context.settings.inflight_wait_s, deadline_of(request, self._context.settings))
            return AwaitingRoom(self, request, request_id, client, error.size_bytes, wait_s)
        except EngineError as error:
            if self._answering.falls_back(error):
                return PendingOriginal(self._answering, request, request_id, error)
            return self._answering.refuse(error, request, request_id)
        except Exception as error:  # whatever a client sends must become an answer; the log has the traceback
            return self._answering.refuse(error, request, request_id)

    def refuse(self, error: BaseException, request: HttpRequest, request_id: str) -> HttpResponse:
        """The answer for `error`, in this route's words."""
        return self._answering.refuse(error, request, request_id)

    def _begin(
        self, request: HttpRequest, request_id: str, client: EngineClient | None, quick: bool
    ) -> Pending | HttpResponse | None:
        settings, dialect, cutter = self._context.settings, self._dialect, self._cutter
        upload = upload_of(request, settings, quick=quick)
        if upload is None:
            return None
        dialect.check(request, upload)
        parameters = dialect.parameters(request, upload)
        request.deployment = parameters.deployment
        deadline = deadline_of(request, settings)
        if client is None:
            raise NotReady()
        description = _description(client, parameters.deployment)
        lookup = None
        if self._has_cache:
            if quick and len(upload.data) > HASHED_INLINE_BYTES:
                return None
            lookup = self._looked_up(request, upload.data, parameters, description)
            if lookup is not None and (value := lookup.found) is not None:
                known = (request_id, upload.filename, parameters, description, value.recording, value.windows)
                begun = PendingLookup(*known, now_ns(), self._answering, request, client, lookup, deadline, None)
                return begun.finish_at_once() or begun if quick else begun.finish()
        recording = cutter.recording(request, upload.data, parameters, description, quick)
        if recording is None:
            return None
        windows = cutter.windows(recording, parameters, description)
        dialect.check_length(len(windows), parameters, description)
        asked = (
            *(request_id, upload.filename, parameters, description, recording, windows, now_ns(), self._answering),
            *(request, client),
        )
        if lookup is None or lookup.advance(parameters.level, deadline.at_ns) is Standing.TO_COMPUTE:
            return _submitted(asked, lookup, deadline)
        return PendingLookup(*asked, lookup, deadline, functools.partial(_submitted, asked, lookup, deadline))

    def _looked_up(
        self, request: HttpRequest, data: memoryview, parameters: Parameters, description: ModelDescription
    ) -> Lookup | None:
        """The file in the cache, as far as that can be said at once; None where it is not worth looking."""
        began_ns = now_ns()
        if not request.is_looked_up:
            cache = self._context.cache
            request.lookup = None if cache is None else cache.lookup(data, parameters.deployment)
            request.is_looked_up = True
        lookup = request.lookup
        if lookup is not None:
            lookup.find(self._cutter.scope_digest(parameters, description), description.classes)
            request.cache_ns += now_ns() - began_ns
        return lookup

    def describe(self) -> Operation:
        """For the OpenAPI document."""
        return replace(self._dialect.describe(), is_handed_on=self._context.original is not None)

    @property
    def limit_bytes(self) -> int:
        """What uploads and their decoding may take of one process."""
        return self._context.settings.max_inflight_bytes


def _submitted(asked: _Asked, lookup: Lookup | None, deadline: Deadline) -> PendingPrediction:
    request_id, _, parameters, _, _, windows, _, _, request, client = asked
    try:
        ticket = client.submit(
            parameters.deployment,
            [Item(window.samples, window.gain) for window in windows],
            request_id=request_id,
            level=parameters.level,
            deadline=deadline,
            caller_hash=caller_hash_of(request),
        )
    except EngineError:
        if lookup is not None:
            lookup.let_go()
        raise
    return PendingPrediction(*asked, lookup, ticket)


def _description(client: EngineClient, deployment_id: str) -> ModelDescription:
    try:
        return client.description(deployment_id)
    except UnknownDeployment as error:
        if deployment_id != DEFAULT_DEPLOYMENT_ID:
            raise
        raise NotReady() from error  # the caller has not named it: to them the engine does not serve


@dataclass(slots=True)
class AwaitingRoom:
    """Not decoded: that takes `size_bytes` of memory, for which its caller is to wait `wait_s` at most."""

    route: PredictionRoute
    request: HttpRequest
    request_id: str
    client: EngineClient | None
    size_bytes: int
    wait_s: float

    @property
    def limit_bytes(self) -> int:
        """Of all room, where the server that we are in counts none."""
        return self.route.limit_bytes

    @property
    def body_bytes(self) -> int:
        """What of the request is in memory by now."""
        upload = self.request.upload
        return max(len(self.request.body), 0 if upload is None else len(upload.data))

    def go_on(self, room: Room | None) -> Begun:
        """As `begin`; a refusal without room."""
        if room is None:
            return self.route.refuse(TooManyUploads(), self.request, self.request_id)
        self.request.room = room
        begun = self.route.begin(self.request, self.client)
        assert begun is not None and not isinstance(begun, AwaitingRoom)  # neither quick nor without room
        return begun
