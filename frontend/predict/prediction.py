"""One prediction over HTTP: request -> windows -> ticket -> answer, for every route and both ways in.

`PredictionRoute.begin` does all that needs no waiting: read the upload, decode, cut, submit. It returns a response (a
refusal), a `Pending`, whose `finish` waits and formats, or an `AwaitingRoom` for a long recording. None of them ever
raises an `Exception`: what goes wrong becomes the answer that the route's `Dialect` gives for it. No slot of the engine
is taken before the upload is complete and decoded, so a slow or broken sender holds none.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from engine.client import EngineClient, Item
from engine.clock import now_ns
from engine.errors import EngineError, InvalidField, NotReady, UnknownDeployment
from engine.spec import DEFAULT_DEPLOYMENT_ID, ModelDescription
from frontend.audio.decode import Claim, Recording, decode, decode_in_place
from frontend.audio.segment import SHORT_FILE_BYTES, Window, bytes_to_cut, is_quickly_cut, segment_recording
from frontend.predict.answering import Answering
from frontend.predict.context import RouteContext
from frontend.predict.dialect import Dialect, upload_of
from frontend.predict.parameters import Parameters, caller_hash_of, deadline_of, request_id_of
from frontend.predict.pending import Pending, PendingOriginal, PendingPrediction
from frontend.server.decoding_room import UNRESERVED_BYTES, Room, patience_s
from frontend.server.message import HttpRequest, HttpResponse
from frontend.server.refusals import TooManyUploads

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
        self._answering = Answering(dialect, context)
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
            if self._answering.falls_back(error):
                return PendingOriginal(self._answering, request, request_id, client, error.with_traceback(None))
            return self._answering.refuse(error, request, request_id, client)
        except Exception as error:  # whatever a client sends must become an answer; the log has the traceback
            return self._answering.refuse(error, request, request_id, client)

    def refuse(
        self, error: BaseException, request: HttpRequest, request_id: str, client: EngineClient | None
    ) -> HttpResponse:
        """The answer for `error`, in this route's words."""
        return self._answering.refuse(error, request, request_id, client)

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
        recording = self._decoded(request, upload.data, parameters, description, quick)
        if recording is None:
            return None
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
        return PendingPrediction(
            *(request_id, upload.filename, parameters, description, recording, windows, decoded_ns, self._answering),
            *(request, client, ticket),
        )

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

    def _decoded(
        self, request: HttpRequest, data: memoryview, parameters: Parameters, description: ModelDescription, quick: bool
    ) -> Recording | None:
        """None: it takes longer than `quick` allows, to decode or to cut. Raises CallerError and RoomNeeded."""
        max_duration_s = self._dialect.max_duration_s
        if quick:
            found = decode_in_place(data, max_duration_s=max_duration_s) if len(data) <= SHORT_FILE_BYTES else None
            is_quick = found is not None and is_quickly_cut(
                found,
                sample_rate_hz=description.sample_rate_hz,
                window_frames=description.input_shape[0],
                overlap_s=parameters.overlap_s,
                mode=parameters.segmentation or self._segmentation,
            )
            return found if is_quick else None
        check_room = None
        if request.room is None:
            check_room = functools.partial(self._check_room, parameters, description)
        return decode_in_place(data, max_duration_s=max_duration_s, check_room=check_room) or decode(
            data,
            max_duration_s=max_duration_s or self._longest_s(parameters, description),
            max_decoded_bytes=self._context.settings.max_decoded_bytes,
            require_wav=self._dialect.require_wav,
            check_room=check_room,
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
