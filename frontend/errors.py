"""The one table from an engine error to HTTP: status, text and Retry-After, for each API.

The optimized form is `{"error", "code", "request_id"}`; the legacy form is `{"error": text}` with the original API's
own texts and its habit of answering 400 where the optimized route answers 413, 415 or 422. Rows are found along the
class's bases, so an error without a row of its own is treated as its parent. What went wrong inside never reaches a
client: for those rows the text here is the whole answer.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from engine import errors
from frontend.predict.content_coding import ACCEPTED, UnsupportedEncoding
from frontend.predict.upload import EncodedFile
from frontend.server.message import JSON_TYPE, HttpResponse, encode_json
from frontend.server.refusals import TransportRefusal

DEFAULT_RETRY_AFTER_S = 1.0


class RateLimited(errors.OverloadError):
    """Rate limit exceeded"""

    code = "RATE_LIMITED"


class InvalidContentType(errors.NotAudio):
    """Invalid content type"""


class WavRequired(errors.NotAudio):
    """WAV file required"""


class FileNameMissing(errors.NoFile):
    """No file uploaded: the part 'file' has no file name"""


@dataclass(frozen=True, slots=True)
class LegacyLimits:
    """The figures that the original API's texts name; the defaults give the original texts."""

    limit_mb: float = 100.0
    limit_minutes: float = 10.0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. A text of None means: the error's own text may be shown."""

    status: int
    text: str | None
    legacy_status: int
    legacy_text: str | None
    retry_after: bool = False


_INTERNAL = Row(500, "Internal server error", 500, "Internal server error")

TABLE: dict[type[BaseException], Row] = {
    errors.CallerError: Row(400, None, 400, None),
    errors.InvalidField: Row(422, None, 400, None),
    errors.NoFile: Row(400, None, 400, "No file uploaded"),
    FileNameMissing: Row(400, None, 400, None),
    UnsupportedEncoding: Row(415, None, 400, None),
    EncodedFile: Row(415, None, 400, None),
    errors.UndecodableAudio: Row(400, None, 400, "Invalid WAV file"),
    errors.SilentAudio: Row(400, "Audio file is silent", 400, "Audio file is silent"),
    errors.NotAudio: Row(415, None, 400, "Invalid WAV file"),
    InvalidContentType: Row(415, None, 400, "Invalid content type"),
    WavRequired: Row(415, None, 400, "WAV file required"),
    errors.BodyTooLarge: Row(413, None, 400, "File exceeds {limit_mb:g} MB limit"),
    errors.AudioTooLong: Row(413, None, 400, "Audio file too long (max {limit_minutes:g} minutes)"),
    errors.UnknownDeployment: Row(404, None, 404, None),
    errors.ConfigError: _INTERNAL,
    errors.OverloadError: Row(429, None, 429, None, retry_after=True),
    RateLimited: Row(429, "Rate limit exceeded", 429, "Rate limit exceeded", retry_after=True),
    errors.DeadlineExceeded: Row(504, "Request timeout", 504, "Request timeout", retry_after=True),
    errors.NotReady: Row(503, "Optimized serving not available", 503, "Service not available", retry_after=True),
    errors.BrokenError: Row(503, "Optimized serving not available", 503, "Service not available", retry_after=True),
    errors.ModelFailed: Row(500, "The model failed on this input", 500, "Internal server error"),
    errors.NonFiniteOutput: Row(500, "The model gave no finite answer", 500, "Internal server error"),
    errors.ModelCrashed: Row(500, "The model process died on this input", 500, "Internal server error"),
    Exception: _INTERNAL,
}


def row_of(error: BaseException | type[BaseException]) -> Row:
    """The row of the nearest class in the table; what the transport refuses knows its own status."""
    kind = error if isinstance(error, type) else type(error)
    if issubclass(kind, TransportRefusal):
        return Row(kind.status, None, kind.status, None, retry_after=kind.come_again_s is not None)
    for base in kind.__mro__:
        if (row := TABLE.get(base)) is not None:
            return row
    return _INTERNAL


def optimized_error(error: BaseException, request_id: str) -> HttpResponse:
    """The answer of the optimized routes."""
    row = row_of(error)
    code = error.code if isinstance(error, errors.EngineError) else errors.InternalError.code
    value = {"error": str(error) if row.text is None else row.text, "code": code, "request_id": request_id}
    if isinstance(error, errors.InvalidField):
        value["field"] = error.field
    return HttpResponse(row.status, _headers(row, error), encode_json(value))


def legacy_error(error: BaseException, limits: LegacyLimits = LegacyLimits()) -> HttpResponse:
    """The answer of the original routes: the text alone."""
    row = row_of(error)
    text = str(error) if row.legacy_text is None else row.legacy_text.format(**dataclasses.asdict(limits))
    return HttpResponse(row.legacy_status, _headers(row, error), encode_json({"error": text}))


def _headers(row: Row, error: BaseException) -> list[tuple[str, str]]:
    if isinstance(error, UnsupportedEncoding):
        return [JSON_TYPE, ("Accept-Encoding", ACCEPTED)]  # RFC 9110, 12.5.3: what would have been taken
    if not row.retry_after:
        return [JSON_TYPE]
    wanted_s = getattr(error, "retry_after_s", None) or DEFAULT_RETRY_AFTER_S
    return [JSON_TYPE, ("Retry-After", str(max(1, math.ceil(wanted_s))))]
