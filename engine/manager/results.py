"""Arrays in, dictionaries out: what `predict` accepts and the published forms of its answers."""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.client import Item, ModelDescription
from engine.errors import (
    CallerError,
    DeadlineExceeded,
    EngineError,
    InheritedByFork,
    InternalError,
    InvalidField,
    UnknownDeployment,
)
from engine.manager.foreign import foreign_code

TOP_K = 5
REFUSED_TEXT = "Failed to submit request for processing"
TIMEOUT_TEXT = "Request timeout"

# Of a prediction: what callers and caches may count on.
PUBLISHED_KEYS = (
    "top_predictions", "predicted_class", "predicted_label", "confidence", "inference_method", "request_id",
    "batch_size", "latency", "cache_hit",
)  # fmt: skip

Result = dict[str, Any]

_log = logging.getLogger(__name__)


def item_of(audio_data: object, description: ModelDescription) -> Item:
    """The array as the model takes it: float32, or int16 samples for waveform models. Raises InvalidField."""
    array = _numbers(audio_data, int16=description.is_waveform)
    if description.is_waveform:
        frames = description.input_shape[0]
        if array.ndim != 1 or not 0 < len(array) <= frames:
            raise InvalidField(
                f"audio_data has shape {list(array.shape)}, the model takes [{frames}] or shorter", field="audio_data"
            )
    elif array.shape != description.input_shape:
        raise InvalidField(
            f"audio_data has shape {list(array.shape)}, the model takes {list(description.input_shape)}",
            field="audio_data",
        )
    return Item(np.ascontiguousarray(array))


def _numbers(audio_data: object, *, int16: bool) -> NDArray[Any]:
    """As float32, or as int16 where that is allowed and given, in this machine's byte order."""
    if audio_data is None or isinstance(audio_data, (str, bytes, bytearray, os.PathLike)):
        raise InvalidField(
            f"audio_data must be an array of samples, not {type(audio_data).__name__}; decode a file first",
            field="audio_data",
        )
    with foreign_code(_no_numbers):  # the object's own conversion: `__array__`
        array = np.asarray(audio_data)
        if array.dtype.kind not in "biufO":
            raise TypeError(f"its elements are {array.dtype}")
        wanted = np.int16 if int16 and (array.dtype.kind, array.itemsize) == ("i", 2) else np.float32
        with np.errstate(all="ignore"):  # what is too large becomes infinite, and the model's answer says so
            return array.astype(wanted, copy=False)


def _no_numbers(error: Exception) -> InvalidField:
    return InvalidField(f"audio_data is no array of numbers: {error}", field="audio_data")


def success(item: Item, description: ModelDescription, *, request_id: str, latency_s: float) -> Result:
    """The published answer, with labels."""
    order = np.argsort(-item.probabilities, kind="stable")[:TOP_K].tolist()
    top = [
        {
            "class_index": index,
            "probability": float(item.probabilities[index]),
            "label": description.labels[index],
        }
        for index in order
    ]
    return {
        "top_predictions": top,
        "predicted_class": top[0]["class_index"],
        "predicted_label": top[0]["label"],
        "confidence": top[0]["probability"],
        "inference_method": "batch",
        "request_id": request_id,
        "batch_size": item.batch_size,
        "latency": latency_s,
        "cache_hit": False,
    }


def from_cache(found: Result, *, request_id: str, latency_s: float) -> Result:
    """A stored answer as the answer to this request."""
    return {**found, "request_id": request_id, "latency": latency_s, "cache_hit": True}


def failed(error: EngineError, *, request_id: object, timeout: object) -> Result:
    """The request got in and has no answer."""
    if isinstance(error, DeadlineExceeded):
        return {"error": TIMEOUT_TEXT, "request_id": request_id, "timeout": timeout, "code": error.code}
    return {"error": str(error), "request_id": request_id, "code": error.code}


def _not_submitted(error: EngineError, *, request_id: object, timeout: object) -> Result:
    """The request never got in: the published text where the engine refused, the error's own for the caller's fault."""
    if isinstance(error, DeadlineExceeded):
        return failed(error, request_id=request_id, timeout=timeout)
    is_callers = isinstance(error, (CallerError, InheritedByFork)) and not isinstance(error, UnknownDeployment)
    return {"error": str(error) if is_callers else REFUSED_TEXT, "request_id": request_id, "code": error.code}


class Promise:
    """A dictionary for the caller, whatever is raised inside: `result`, set there or by the error that leaves it."""

    def __init__(self, request_id: object, timeout: object) -> None:
        self._request_id = request_id
        self._timeout = timeout
        self.result: Result = {}

    def __enter__(self) -> Promise:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if isinstance(error, EngineError):
            self.result = _not_submitted(error, request_id=self._request_id, timeout=self._timeout)
        elif isinstance(error, Exception):  # our bug: the log gets its traceback, the caller does not
            _log.error("request %s: %s", ascii(self._request_id), type(error).__name__, exc_info=error)
            text = "Internal error; the log has the details"
            self.result = {"error": text, "request_id": self._request_id, "code": InternalError.code}
        return isinstance(error, Exception)
