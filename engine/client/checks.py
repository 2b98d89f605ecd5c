"""What a request must be to be let in: whatever a slot's words or the model cannot take is refused here, by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.errors import InvalidField
from engine.shm.item import Item
from engine.spec import ModelDescription

_DTYPES = (np.dtype(np.float32), np.dtype(np.int16))  # in native byte order


def check_request(
    items: Sequence[Item], description: ModelDescription | None, request_id: object, level: object, caller_hash: object
) -> None:
    """Raises InvalidField for what no slot can take; every other doubt is the instance's to settle.

    `description`: what the items must fit, if a version serves just now.
    """
    if not isinstance(request_id, str):
        raise InvalidField(f"request_id must be a text, not {type(request_id).__name__}", field="request_id")
    if not (isinstance(level, int) and -1 <= level <= 1):
        raise InvalidField(f"level must be -1, 0 or 1, not {ascii(level)[:80]}", field="level")
    if not isinstance(caller_hash, int):
        raise InvalidField(f"caller_hash must be a whole number, not {type(caller_hash).__name__}", field="caller_hash")
    if not items:
        raise InvalidField("a request needs at least one item", field="items")
    if len(items) > 1 and len(set(items)) < len(items):
        raise InvalidField("an item belongs to one request, once", field="items")
    shape = None if description is None else description.input_shape
    for item in items:
        payload = item.payload
        if not isinstance(payload, np.ndarray) or not isinstance(item.gain, (float, int)):
            raise InvalidField("an item is an array and a number to multiply it by", field="items")
        if payload.dtype not in _DTYPES or not payload.flags.c_contiguous:
            raise InvalidField(f"an item must be contiguous float32 or int16, not {payload.dtype}", field="items")
        if item.ticket is not None:
            raise InvalidField("an item belongs to one request, once", field="items")
        # Of waveforms what is shorter is filled up; anything else fits exactly or not at all.
        if shape is not None and not (payload.ndim == 1 == len(shape) and 0 < payload.size <= shape[0]):
            _check_shape(item, shape)


def _check_shape(item: Item, shape: tuple[int, ...]) -> None:
    """Raises InvalidField for what is no waveform of the right length, unless the model takes just that."""
    payload = item.payload
    if len(shape) == 1:
        text = f"an item must be a waveform of 1 to {shape[0]} frames, not {list(payload.shape)}"
        raise InvalidField(text, field="items")
    if payload.shape != shape or payload.dtype != np.float32:
        text = f"an item must be float32 {list(shape)}, not {payload.dtype} {list(payload.shape)}"
        raise InvalidField(text, field="items")
