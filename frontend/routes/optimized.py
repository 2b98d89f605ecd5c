"""`POST /api/optimized/predict`: the engine's own API, every figure in the answer."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from engine.config import Settings
from engine.errors import InvalidField
from engine.spec import ModelDescription
from engine.stores.cache_value import Computed, Place
from frontend.audio.channels import MEAN
from frontend.errors import optimized_error
from frontend.predict.answers import MAX_ANSWER_CHARACTERS, MAX_LISTED, Wording, combine, rank
from frontend.predict.dialect import Prediction
from frontend.predict.operation import Operation, OperationAnswer
from frontend.predict.parameters import FIELDS, TIMEOUT_HEADER, TIMEOUT_MS, Parameters, read_parameters
from frontend.routes.answer_schemas import PREDICTION
from frontend.routes.error_answers import optimized_errors
from frontend.routes.request_bodies import form_of, raw
from frontend.server.message import JSON_TYPE, HttpRequest, HttpResponse, Upload


_KNOWN_QUERY_CHARACTERS = 256  # of the longest query that is remembered


class OptimizedDialect:
    """Any format, cut at fixed steps unless asked otherwise, no limit on the duration but `max_segments`."""

    endpoint = "optimized"
    default_segmentation = "fixed"
    max_duration_s = 0.0
    require_wav = False

    def __init__(self, settings: Settings) -> None:
        self._defaults = Parameters(top_k=settings.top_k, overlap_s=settings.overlap_s)
        # Programs ask for the same few over and over.
        self._known_query = functools.lru_cache(maxsize=256)(functools.partial(self._read, fields={}))
        self._wording = Wording(())

    def check(self, request: HttpRequest, upload: Upload) -> None:
        """By content alone: names and types of uploads say little."""

    def parameters(self, request: HttpRequest, upload: Upload) -> Parameters:
        query, fields = request.query, upload.fields
        if fields or len(query) > _KNOWN_QUERY_CHARACTERS:
            return self._read(query, fields=fields)
        return self._known_query(query)

    def _read(self, query: str, *, fields: Mapping[str, str]) -> Parameters:
        return read_parameters(query, fields, self._defaults)

    def check_length(self, windows: int, parameters: Parameters, description: ModelDescription) -> None:
        listed = windows * min(parameters.top_k, len(description.labels))
        if listed > MAX_LISTED and not parameters.min_confidence:
            raise InvalidField(
                f"{windows} segments with {listed // windows} predictions each are more than one answer lists"
                f" ({MAX_LISTED}): lower top_k, or set min_confidence",
                field="top_k",
            )

    def success(self, prediction: Prediction, answers: Sequence[Computed], latency_s: float) -> HttpResponse:
        parameters, description = prediction.parameters, prediction.description
        wording = self._wording_of(description)
        top_k, minimum = parameters.top_k, parameters.min_confidence
        batch_size = answers[0].batch_size
        if len(answers) == 1:
            whole = rank(answers[0].probabilities, top_k)
            top = wording.detailed(whole, minimum)
            segments = _segment(prediction.windows[0], top)
        else:
            whole = rank(combine([answer.probabilities for answer in answers]), top_k)
            top = wording.detailed(whole, minimum)
            batch_size = max([answer.batch_size for answer in answers])
            segments = ",".join(
                _bounded(
                    _segment(window, wording.detailed(rank(answer.probabilities, top_k), minimum))
                    for window, answer in zip(prediction.windows, answers)
                )
            )
        best, confidence = whole[0]
        recording = prediction.recording
        channel = prediction.windows[0].channel
        audio = _audio(recording.duration_s, recording.sample_rate_hz, recording.channels, channel, recording.format)
        text = (  # the two ids have been checked for their characters, so that they need no escapes
            f'{{"request_id":"{prediction.request_id}","deployment_id":"{parameters.deployment}",'
            f'"model_version":{_quoted(description.model_version)},'
            f'"predicted_class":{best},"predicted_label":{wording.names[best]},"confidence":{confidence!r},'
            f'"top_predictions":{top},"segments":[{segments}],"audio":{audio},'
            f'"inference_method":"batch","batch_size":{batch_size},'
            f'"latency":{latency_s!r},"cache_hit":{"true" if prediction.cached else "false"}}}'
        )
        return HttpResponse(200, [JSON_TYPE], text.encode())

    def _wording_of(self, description: ModelDescription) -> Wording:
        # Two threads may make it twice, which costs nothing but the time.
        wording = self._wording
        if wording.labels is not description.labels:
            self._wording = wording = Wording(description.labels)
        return wording

    def failure(self, error: BaseException, request_id: str) -> HttpResponse:
        return optimized_error(error, request_id)

    def describe(self) -> Operation:
        timing = {"Server-Timing": "where the time went, in milliseconds"}
        return Operation(
            "Every figure about a recording",
            "prediction",
            {200: OperationAnswer("The prediction", PREDICTION, headers=timing), **optimized_errors()},
            query=FIELDS,
            headers={TIMEOUT_HEADER: TIMEOUT_MS},
            body={**form_of(FIELDS), **raw("application/octet-stream", "audio/wav", "audio/flac")},
        )


def _bounded(segments: Iterable[str]) -> Iterator[str]:
    """Raises InvalidField once they are longer than an answer may be."""
    left = MAX_ANSWER_CHARACTERS
    for segment in segments:
        left -= len(segment)
        if left < 0:
            raise InvalidField(
                f"the answer is longer than {MAX_ANSWER_CHARACTERS} characters: lower top_k, or raise min_confidence",
                field="top_k",
            )
        yield segment


@functools.lru_cache(maxsize=64)
def _quoted(text: str) -> str:
    """JSON of one of a few texts: versions of models."""
    return json.dumps(text)


def _segment(window: Place, top_predictions: str) -> str:
    return f'{_place(window.index, window.start_s, window.end_s)}"top_predictions":{top_predictions}}}'


@functools.lru_cache(maxsize=1024)
def _place(index: int, start_s: float, end_s: float) -> str:
    """How a segment begins. Recorders cut their nights into pieces of one length, so that a few texts serve most."""
    return f'{{"index":{index},"start_s":{start_s!r},"end_s":{end_s!r},'


@functools.lru_cache(maxsize=64)
def _audio(duration_s: float, sample_rate_hz: int, channels: int, channel: int, format_name: str) -> str:
    """`channel_used` is there where there are several: "mean", or the number, from 1, of the one that was heard."""
    used = "" if channels == 1 else f'"channel_used":{channel},' if channel != MEAN else '"channel_used":"mean",'
    return (
        f'{{"duration_s":{duration_s!r},"sample_rate_hz":{sample_rate_hz},'
        f'"channels":{channels},{used}"format":{json.dumps(format_name)}}}'
    )
