"""`POST /api/predict` and its other paths: the original API, value for value where a client can see it.

An array with one object for each kept segment; `#<index>` after the name only when there are several; `time` is the
segment's true start. The original put a path of its own machine before the name and `index * 8.0` in `time`.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.config import Settings
from engine.spec import ModelDescription
from engine.stores.cache_value import Computed
from frontend.errors import FileNameMissing, InvalidContentType, LegacyLimits, WavRequired, legacy_error
from frontend.predict.answers import labelled, rank
from frontend.predict.dialect import Prediction
from frontend.predict.operation import Operation, OperationAnswer
from frontend.predict.parameters import TIMEOUT_HEADER, TIMEOUT_MS, Parameters
from frontend.routes.answer_schemas import ORIGINAL_PREDICTION
from frontend.routes.error_answers import original_errors
from frontend.routes.request_bodies import form_of, raw
from frontend.server.message import JSON_TYPE, HttpRequest, HttpResponse, Upload, encode_json

TOP = 3
_RAW_TYPES = frozenset({"audio/wav", "audio/x-wav"})
_BYTES_PER_MB = 1024 * 1024


class LegacyDialect:
    """WAV files up to `max_duration_s`, cut on silence unless the settings say otherwise."""

    endpoint = "legacy"
    default_segmentation = "silence"
    require_wav = True

    def __init__(self, settings: Settings) -> None:
        self.max_duration_s = settings.max_duration_s
        self._parameters = Parameters(top_k=TOP, overlap_s=settings.overlap_s)
        self._limits = LegacyLimits(settings.max_upload_bytes / _BYTES_PER_MB, settings.max_duration_s / 60)

    def check(self, request: HttpRequest, upload: Upload) -> None:
        if not upload.is_multipart:
            if upload.content_type not in _RAW_TYPES:
                raise InvalidContentType()
            return
        if not upload.is_named:
            raise FileNameMissing()
        if not upload.filename.lower().endswith(".wav"):
            raise WavRequired()
        # No type, or octet-stream, is what curl and most libraries send for a file: then its content decides.
        part = upload.content_type
        if part and part != "application/octet-stream" and not part.startswith("audio/"):
            raise InvalidContentType()

    def parameters(self, request: HttpRequest, upload: Upload) -> Parameters:
        """The original had none, and what a form carries beside the file is not ours."""
        return self._parameters

    def check_length(self, windows: int, parameters: Parameters, description: ModelDescription) -> None:
        """Three predictions for each of `max_segments` windows are never too many."""

    def success(self, prediction: Prediction, answers: Sequence[Computed], latency_s: float) -> HttpResponse:
        several = len(answers) > 1
        labels = prediction.description.labels
        # One by one: the encoder is a single call, and thousands of segments in it would hold up every other thread.
        rows = [
            encode_json(
                {
                    "segment": f"{prediction.filename}#{position}" if several else prediction.filename,
                    "time": window.start_s,
                    "predictions": labelled(rank(answer.probabilities, TOP), labels),
                }
            )
            for position, (window, answer) in enumerate(zip(prediction.windows, answers))
        ]
        return HttpResponse(200, [JSON_TYPE], b"[" + b",".join(rows) + b"]")

    def failure(self, error: BaseException, request_id: str) -> HttpResponse:
        return legacy_error(error, self._limits)

    def describe(self) -> Operation:
        return Operation(
            "The original API: the likeliest classes of each segment",
            "original",
            {200: OperationAnswer("An object for each segment", ORIGINAL_PREDICTION), **original_errors()},
            headers={TIMEOUT_HEADER: TIMEOUT_MS},
            body={**form_of({}), **raw(*sorted(_RAW_TYPES))},
        )
