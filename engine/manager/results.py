"""Arrays in, dictionaries out: what `predict` accepts and the published forms of its answers."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from engine.client import Item, ItemAnswer, ModelDescription
from engine.errors import CallerError, DeadlineExceeded, EngineError, InvalidField, UnknownDeployment

TOP_K = 5
REFUSED_TEXT = "Failed to submit request for processing"
TIMEOUT_TEXT = "Request timeout"

Result = dict[str, Any]


def item_of(audio_data: object, description: ModelDescription) -> Item:
    """The array as the model takes it: float32, or int16 samples for waveform models. Raises InvalidField."""
    try:
        array = np.asarray(audio_data)
        if not (array.dtype == np.int16 and description.is_waveform):
            array = array.astype(np.float32, copy=False)
    except (TypeError, ValueError) as error:
        raise InvalidField(f"audio_data is no array of numbers: {error}", field="audio_data") from error
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


def caller_hash_of(user_id: object) -> int:
    """64 bits that stand for a user; 0 for nobody."""
    if user_id is None:
        return 0
    return int.from_bytes(hashlib.blake2b(str(user_id).encode(), digest_size=8).digest(), "little")


def success(answer: ItemAnswer, description: ModelDescription, *, request_id: str, latency_s: float) -> Result:
    """The published answer, with labels."""
    order = np.argsort(-answer.probabilities, kind="stable")[:TOP_K].tolist()
    top = [
        {
            "class_index": index,
            "probability": float(answer.probabilities[index]),
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
        "batch_size": answer.batch_size,
        "latency": latency_s,
        "cache_hit": False,
    }


def from_cache(found: Result, *, request_id: str, latency_s: float) -> Result:
    """A stored answer as the answer to this request."""
    return {**found, "request_id": request_id, "latency": latency_s, "cache_hit": True}


def not_submitted(error: EngineError, *, request_id: str, timeout_s: float) -> Result:
    """The request never got in: the published text where the engine refused, the error's own for bad input."""
    if isinstance(error, DeadlineExceeded):
        return failed(error, request_id=request_id, timeout_s=timeout_s)
    bad_input = isinstance(error, CallerError) and not isinstance(error, UnknownDeployment)
    return {"error": str(error) if bad_input else REFUSED_TEXT, "request_id": request_id, "code": error.code}


def failed(error: EngineError, *, request_id: str, timeout_s: float) -> Result:
    """The request got in and has no answer."""
    if isinstance(error, DeadlineExceeded):
        return {"error": TIMEOUT_TEXT, "request_id": request_id, "timeout": timeout_s}
    return {"error": str(error), "request_id": request_id, "code": error.code}
