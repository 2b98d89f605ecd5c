"""What the two APIs differ in: how each reads a request and words its answers; and what both read first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from engine.config import Settings
from engine.errors import BodyTooLarge
from engine.spec import ModelDescription
from engine.stores.cache_value import Computed, Heard, Place
from frontend.audio.segment import SHORT_PCM_BYTES
from frontend.predict.content_coding import coding_of, unpacked
from frontend.predict.operation import Operation
from frontend.predict.parameters import Parameters
from frontend.predict.upload import parse_quickly, parse_upload
from frontend.server.message import MULTIPART_SLACK_BYTES, HttpRequest, HttpResponse, Upload, body_limit_bytes

QUICK_BODY_BYTES = SHORT_PCM_BYTES + MULTIPART_SLACK_BYTES  # searching it for a boundary takes 3 ms at most


@dataclass(slots=True)
class Prediction:
    """A recording on its way to an answer: everything that formatting it needs."""

    request_id: str
    filename: str
    parameters: Parameters
    description: ModelDescription
    recording: Heard
    windows: Sequence[Place]
    decoded_ns: int
    cached: str = field(default="", kw_only=True)  # where the answer is from: "" computed, "l1", "l2", "shared"


class Dialect(Protocol):
    """How one API reads a request and words its answers."""

    endpoint: str
    default_segmentation: str
    max_duration_s: float  # 0: no limit
    require_wav: bool

    def check(self, request: HttpRequest, upload: Upload) -> None:
        """Raises a CallerError for an upload that this API does not take, before it is decoded."""

    def parameters(self, request: HttpRequest, upload: Upload) -> Parameters:
        """Raises InvalidField."""

    def check_length(self, windows: int, parameters: Parameters, description: ModelDescription) -> None:
        """Raises InvalidField where the answer would be too long to be given."""

    def success(self, prediction: Prediction, answers: Sequence[Computed], latency_s: float) -> HttpResponse:
        """The 200."""

    def failure(self, error: BaseException, request_id: str) -> HttpResponse:
        """Any other status."""

    def describe(self) -> Operation:
        """For the OpenAPI document."""


def upload_of(request: HttpRequest, settings: Settings, *, quick: bool = False) -> Upload | None:
    """The uploaded file, parsed once per request. None: it would take longer than `quick` allows. Raises CallerError.

    A compressed body is unpacked first, and `request.body` then is what was in it.
    """
    if request.body_too_large:
        raise BodyTooLarge()
    if request.upload is None:
        named = "" if request.is_unpacked else request.headers.get("content-encoding", "")
        coding = coding_of(named) if named else ""
        if quick and (coding or len(request.body) > QUICK_BODY_BYTES):
            return None
        if coding and len(request.body):
            _unpack(request, coding, settings)
        parse = parse_quickly if quick else parse_upload
        request.upload = parse(request.headers.get("content-type", ""), request.body)
    if request.upload is not None and len(request.upload.data) > settings.max_upload_bytes:
        raise BodyTooLarge()
    return request.upload


def _unpack(request: HttpRequest, coding: str, settings: Settings) -> None:
    limit_bytes = body_limit_bytes(settings.max_upload_bytes)
    total_bytes = max(settings.max_inflight_bytes, limit_bytes)
    request.body = unpacked(request.body, coding, limit_bytes=limit_bytes, total_bytes=total_bytes)
    request.is_unpacked = True
