"""One prediction over HTTP: request -> windows -> ticket -> answer, for every route and both ways in.

`PredictionRoute.begin` does all that needs no waiting: read the upload, decode, cut, submit. It returns a response (a
refusal), a `Pending`, whose `finish` waits and formats, or an `AwaitingRoom` for a long recording. None of them ever
raises an `Exception`: what goes wrong becomes the answer that the route's `Dialect` gives for it. No slot of the engine
is taken before the upload is complete and decoded, so a slow or broken sender holds none.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.client import EngineClient, Item, ItemAnswer, Ticket
from engine.clock import NS_PER_S, now_ns
from engine.errors import EngineError, InvalidField, NotReady, UnknownDeployment
from engine.spec import DEFAULT_DEPLOYMENT_ID, ModelDescription
from frontend.audio.decode import Claim, Recording, decode, decode_in_place
from frontend.audio.segment import SHORT_FILE_BYTES, Window, bytes_to_cut, is_quickly_cut, segment_recording
from frontend.predict.answers import server_timing
from frontend.predict.context import RouteContext
from frontend.predict.dialect import Dialect, Prediction, upload_of
from frontend.predict.parameters import Parameters, caller_hash_of, deadline_of, request_id_of
from frontend.server.decoding_room import UNRESERVED_BYTES, Room, patience_s
from frontend.server.message import HttpRequest, HttpResponse
from frontend.server.refusals import TooManyUploads

# What an event loop does itself; each bound is some milliseconds of work, ordinary recordings stay far below.
QUICK_PROBABILITIES = 50_000  # to be ranked
QUICK_LISTED = 2_000  # predictions to be worded

_LOG = logging.getLogger(__name__)


class Pending(Protocol):
    """A request that is under way. Whoever drops it without finishing must cancel it."""

    @property
    def at_once(self) -> bool:
        """Whether `finish` would return without waiting."""

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        """Calls back, in any thread, when there is nothing to wait for but what `finish` itself still has to ask."""

    def finish(self) -> HttpResponse:
        """Waits in this thread, then formats."""

    def cancel(self) -> None:
        """Nobody wants the answer any more."""


Begun = Pending | HttpResponse


class RoomNeeded(TooManyUploads):
    """Too many uploads at once"""

    def __init__(self, text: str = "", *, size_bytes: int = 0) -> None:
        super().__init__(text)
        self.size_bytes = size_bytes


class PredictionRoute:
    """The handler of one prediction route. Stateless but for its settings: any thread may call it."""

    def __init__(self, dialect: Dialect, context: RouteContext) -> None:
        self._dialect = dialect
        self._context = context
        self._segmentation = context.settings.segmentation or dialect.default_segmentation

    def begin(
        self, request: HttpRequest, client: EngineClient | None, *, quick: bool = False
    ) -> Pending | HttpResponse | AwaitingRoom | None:
        """Everything up to the submission; takes as long as decoding takes. Never raises.

        `quick`: only if that is short enough for an event loop (a refusal, or a short recording that needs no work);
        else None is returned, and nothing is begun.
        """
        request_id = request_id_of(request.headers)
        try:
            return self._submit(request, request_id, client, quick)
        except RoomNeeded as error:
            wait_s = patience_s(self._context.settings.inflight_wait_s, deadline_of(request, self._context.settings))
            return AwaitingRoom(self, request, request_id, client, error.size_bytes, wait_s)
        except EngineError as error:
            if self.falls_back(error, request):
                return PendingOriginal(self, request, request_id, client, error.with_traceback(None))
            return self.refuse(error, request, request_id, client)
        except Exception as error:  # whatever a client sends must become an answer; the log has the traceback
            return self.refuse(error, request, request_id, client)

    def _submit(
        self, request: HttpRequest, request_id: str, client: EngineClient | None, quick: bool
    ) -> Pending | None:
        settings, dialect = self._context.settings, self._dialect
        upload = upload_of(request, settings, quick=quick)
        if upload is None:
            return None
        dialect.check(request, upload)
        parameters = dialect.parameters(request, upload)
        deadline = deadline_of(request, settings)
        if client is None:
            raise NotReady()
        description = _description(client, parameters.deployment)
        if quick and len(upload.data) > SHORT_FILE_BYTES:
            return None
        check_room = None
        if not quick and request.room is None:
            check_room = functools.partial(self._check_room, parameters, description)
        recording = decode_in_place(upload.data, max_duration_s=dialect.max_duration_s, check_room=check_room)
        if quick and not self._is_quickly_cut(recording, parameters, description):
            return None
        if recording is None:
            recording = decode(
                upload.data,
                max_duration_s=dialect.max_duration_s or self._longest_s(parameters, description),
                max_decoded_bytes=settings.max_decoded_bytes,
                require_wav=dialect.require_wav,
                check_room=check_room,
            )
        windows = self._cut(recording, parameters, description)
        dialect.check_length(len(windows), parameters, description)
        decoded_ns = now_ns()
        ticket = client.submit(
            parameters.deployment,
            [Item(window.samples, window.gain) for window in windows],
            request_id=request_id,
            level=parameters.level,
            deadline=deadline,
            caller_hash=caller_hash_of(request),
        )
        prediction = Prediction(
            request_id, upload.filename, parameters, description, recording, windows, decoded_ns
        )
        return PendingPrediction(self, request, client, prediction, ticket)

    @property
    def limit_bytes(self) -> int:
        """What uploads and their decoding may take of one process."""
        return self._context.settings.max_inflight_bytes

    def _check_room(self, parameters: Parameters, description: ModelDescription, claim: Claim) -> None:
        """Raises RoomNeeded for a recording that is not to be decoded before there is room for that."""
        mode = parameters.segmentation or self._segmentation
        rate_hz = description.sample_rate_hz or claim.sample_rate_hz
        size_bytes = claim.spent_bytes + bytes_to_cut(claim, sample_rate_hz=rate_hz, mode=mode)
        if size_bytes > UNRESERVED_BYTES:
            raise RoomNeeded(size_bytes=size_bytes)

    def _is_quickly_cut(
        self, recording: Recording | None, parameters: Parameters, description: ModelDescription
    ) -> bool:
        return recording is not None and is_quickly_cut(
            recording,
            sample_rate_hz=description.sample_rate_hz,
            window_frames=description.input_shape[0],
            overlap_s=parameters.overlap_s,
            mode=parameters.segmentation or self._segmentation,
        )

    def _cut(self, recording: Recording, parameters: Parameters, description: ModelDescription) -> list[Window]:
        if not description.is_waveform:
            raise InvalidField("deployment takes arrays, not sound", field="deployment")
        return segment_recording(
            recording,
            sample_rate_hz=description.sample_rate_hz,
            # What the model takes decides, also where a factory's segment_s says something else.
            segment_s=description.input_shape[0] / description.sample_rate_hz,
            mode=parameters.segmentation or self._segmentation,
            overlap_s=parameters.overlap_s,
            min_window_s=self._context.settings.min_window_s,
            peak_normalise=description.peak_normalise,
            max_segments=self._context.settings.max_segments,
            max_decoded_bytes=self._context.settings.max_decoded_bytes,
        )

    def _longest_s(self, parameters: Parameters, description: ModelDescription) -> float:
        """What is longer has more windows than are computed, so that decoding it would be in vain. 0: unknown."""
        if not description.is_waveform:
            return 0.0
        segment_s = description.input_shape[0] / description.sample_rate_hz
        by_silence = (parameters.segmentation or self._segmentation) == "silence"
        hop_s = segment_s if by_silence else segment_s - parameters.overlap_s
        return max(0.0, (self._context.settings.max_segments + 1) * hop_s + segment_s)

    def falls_back(self, error: EngineError, request: HttpRequest) -> bool:
        """Whether the original API is to answer: the engine does not serve, and there is another.

        Where optimized serving is switched off its own route says so, since the original answers in another form.
        """
        switched_off = self._dialect.endpoint == "optimized" and not self._context.settings.enabled
        return isinstance(error, NotReady) and self._context.original is not None and not switched_off

    def ask_original(
        self, error: EngineError, request: HttpRequest, request_id: str, client: EngineClient | None
    ) -> HttpResponse:
        """The original API's answer, or ours for `error` when it has none either. Blocks."""
        assert self._context.original is not None
        try:
            response = self._context.original(request)
        except Exception as failure:  # the original is somebody else's code: it may raise anything
            return self.refuse(failure, request, request_id, client)
        if response is None:
            return self.refuse(error, request, request_id, client)
        return self._seal(response, request, request_id, client)

    def is_quickly_worded(self, prediction: Prediction) -> bool:
        """Whether an event loop may format the answer."""
        windows, classes = len(prediction.windows), prediction.description.classes
        listed = windows * min(prediction.parameters.top_k, classes)
        return windows * classes <= QUICK_PROBABILITIES and listed <= QUICK_LISTED

    def answer(
        self, prediction: Prediction, answers: Sequence[ItemAnswer], request: HttpRequest, client: EngineClient
    ) -> HttpResponse:
        """The 200, with its timing."""
        total_s = (now_ns() - request.arrival_ns) / NS_PER_S
        response = self._dialect.success(prediction, answers, total_s)
        self._log(response)
        timing = server_timing(
            decode_s=(prediction.decoded_ns - request.complete_ns) / NS_PER_S,
            queue_s=max([answer.queue_s for answer in answers]),
            compute_s=max([answer.compute_s for answer in answers]),
            total_s=total_s,
        )
        response.headers.append(("Server-Timing", timing))
        return self._seal(response, request, prediction.request_id, client)

    def refuse(
        self, error: BaseException, request: HttpRequest, request_id: str, client: EngineClient | None
    ) -> HttpResponse:
        """The answer for `error`, with what time it took."""
        response = self._dialect.failure(error, request_id)
        if response.status == 500:
            _LOG.error("request %s: %s", request_id, error, exc_info=error)
        total_s = (now_ns() - request.arrival_ns) / NS_PER_S
        response.headers.append(("Server-Timing", server_timing(decode_s=0, queue_s=0, compute_s=0, total_s=total_s)))
        return self._seal(response, request, request_id, client)

    def _log(self, response: HttpResponse) -> None:
        if self._dialect.endpoint == "legacy":
            self._context.predict_log.write(response.body)

    def _seal(
        self, response: HttpResponse, request: HttpRequest, request_id: str, client: EngineClient | None
    ) -> HttpResponse:
        return self._context.seal(
            response, request, request_id=request_id, endpoint=self._dialect.endpoint, client=client
        )


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
            return self.route.refuse(TooManyUploads(), self.request, self.request_id, self.client)
        self.request.room = room
        begun = self.route.begin(self.request, self.client)
        assert begun is not None and not isinstance(begun, AwaitingRoom)  # neither quick nor without room
        return begun


@dataclass(slots=True)
class PendingPrediction:
    """Submitted: the engine has it."""

    route: PredictionRoute
    request: HttpRequest
    client: EngineClient
    prediction: Prediction
    ticket: Ticket

    @property
    def at_once(self) -> bool:
        error = self.ticket.error
        if error is not None:
            return not isinstance(error, NotReady)  # the original API may have to be asked
        return self.ticket.done and self.route.is_quickly_worded(self.prediction)

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        self.ticket.add_done_callback(callback)

    def finish(self) -> HttpResponse:
        try:
            return self.route.answer(self.prediction, self.ticket.wait(), self.request, self.client)
        except Exception as error:  # an answer for everything, see `begin`
            return self._failed(error)

    def cancel(self) -> None:
        self.ticket.cancel()

    def _failed(self, error: Exception) -> HttpResponse:
        request_id = self.prediction.request_id
        if isinstance(error, EngineError) and self.route.falls_back(error, self.request):
            return self.route.ask_original(error, self.request, request_id, self.client)
        return self.route.refuse(error, self.request, request_id, self.client)


@dataclass(slots=True)
class PendingOriginal:
    """Not submitted: the original API is asked in `finish`, where waiting is allowed."""

    route: PredictionRoute
    request: HttpRequest
    request_id: str
    client: EngineClient | None
    error: EngineError

    @property
    def at_once(self) -> bool:
        return False

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        callback(self)

    def finish(self) -> HttpResponse:
        return self.route.ask_original(self.error, self.request, self.request_id, self.client)

    def cancel(self) -> None:
        """Nothing is held."""
