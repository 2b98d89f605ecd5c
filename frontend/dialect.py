"""What the two APIs differ in: how each reads a request and words its answers; and what both read first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from engine.client import ItemAnswer
from engine.errors import BodyTooLarge
from engine.spec import ModelDescription
from frontend.audio.decode import Recording
from frontend.audio.segment import Window
from frontend.http_message import HttpRequest, HttpResponse
from frontend.parameters import Parameters
from frontend.upload import Upload, parse_upload


@dataclass(slots=True)
class Prediction:
    """A submitted recording: everything that formatting its answer needs."""

    request_id: str
    filename: str
    parameters: Parameters
    description: ModelDescription
    recording: Recording
    windows: list[Window]
    arrival_ns: int
    decoded_ns: int


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

    def success(self, prediction: Prediction, answers: Sequence[ItemAnswer], latency_s: float) -> HttpResponse:
        """The 200."""

    def failure(self, error: BaseException, request_id: str) -> HttpResponse:
        """Any other status."""


def upload_of(request: HttpRequest, max_upload_bytes: int) -> Upload:
    """The uploaded file, parsed once per request. Raises CallerError."""
    if request.body_too_large:
        raise BodyTooLarge()
    if request.upload is None:
        request.upload = parse_upload(request.headers.get("content-type", ""), request.body)
    if len(request.upload.data) > max_upload_bytes:
        raise BodyTooLarge()
    return request.upload
