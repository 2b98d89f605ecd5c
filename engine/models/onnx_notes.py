"""What an ONNX file says of itself in its `metadata_props`, under the names that exporters use for it.

Values are texts: JSON, Python's way of writing a list or an object (ultralytics), or one plain word or number.
Invariant: a value is read when it is asked for, so that a strange one is nobody's trouble whose settings go before it.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from engine.models.foreign import blaming
from engine.spec import Activation

T = TypeVar("T")

# Ours first; then what others write.
NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "labels": ("labels", "names", "classes", "class_names", "class_labels", "label_names", "id2label"),
    "sample_rate_hz": ("sample_rate_hz", "sample_rate", "sampling_rate", "samplerate", "sr"),
    "segment_s": (
        "segment_s", "segment_duration", "segment_seconds", "window_s", "window_seconds", "window_duration",
        "clip_duration", "clip_seconds", "chunk_duration", "duration_s",
    ),
    "activation": ("activation", "output_activation"),
    "peak_normalise": ("peak_normalise", "peak_normalize"),
    "mel": ("mel",),
})  # fmt: skip
_WHOLE = "preprocessing"  # an object with any of these, as in our checkpoints
_TRUTHS = MappingProxyType({"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False})


class OnnxNotes:
    """The texts of one file, asked by what they mean."""

    def __init__(self, texts: Mapping[str, str], *, where: str) -> None:
        self._where = where
        self._texts: dict[str, Any] = {_plain(key): value for key, value in texts.items()}
        whole = _value(self._texts.get(_WHOLE, ""))
        if isinstance(whole, dict):
            self._texts = {**{_plain(str(key)): value for key, value in whole.items()}, **self._texts}

    def labels(self) -> tuple[str, ...] | None:
        """The names of the classes in order. Raises ConfigError, as the others do, for what cannot be read as one."""
        return self._read("labels", _labels)

    def sample_rate_hz(self) -> int | None:
        return self._read("sample_rate_hz", lambda value: _positive(int(_whole(value))))

    def segment_s(self) -> float | None:
        return self._read("segment_s", lambda value: _positive(float(value)))

    def activation(self) -> Activation | None:
        """How the outputs become probabilities, where the file says it."""
        return self._read("activation", lambda value: Activation(str(value).strip().lower()))

    def peak_normalise(self) -> bool | None:
        return self._read("peak_normalise", lambda value: _TRUTHS[str(value).strip().lower()])

    def mel(self) -> Mapping[str, Any] | None:
        """Fields of MelSettings, of a network that is given spectrograms."""
        return self._read("mel", lambda value: {str(name): each for name, each in _value(value).items()})

    def _read(self, meaning: str, read: Callable[[Any], T]) -> T | None:
        for name in NAMES[meaning]:
            value = self._texts.get(name)
            if value not in (None, ""):
                text = f"{self._where} says {name}={str(value)[:80]!r} in its metadata, which is no {meaning}"
                with blaming(lambda what: f"{text} ({what}): set {meaning}, which goes before it"):
                    return read(value)
        return None


def _plain(key: str) -> str:
    return key.strip().lower().replace("-", "_").replace(" ", "_")


def _value(text: Any) -> Any:
    """What a text stands for, in JSON or as Python writes it; itself where it is neither."""
    if not isinstance(text, str) or text.strip()[:1] not in ("[", "{", "("):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return ast.literal_eval(text.strip())  # constants alone: runs nothing


def _labels(text: Any) -> tuple[str, ...]:
    value = _value(text)
    if isinstance(value, dict):
        value = [value[key] for key in _in_order(value)]
    elif isinstance(value, str):
        value = [name.strip() for name in (value.splitlines() if "\n" in value else value.split(",")) if name.strip()]
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError("neither a list nor an object of index to label")
    return tuple(map(str, value))


def _in_order(named: dict[Any, Any]) -> list[Any]:
    """The keys of an object of index to label; of label to index it would be another matter, and is refused."""
    keys = sorted(named, key=int)
    if [int(key) for key in keys] != list(range(len(keys))):
        raise ValueError(f"its indices are not 0 to {len(keys) - 1}")
    return keys


def _whole(value: Any) -> float:
    number = float(value)
    if number != int(number):
        raise ValueError("not a whole number")
    return number


def _positive(number: T) -> T:
    if not 0 < number < float("inf"):  # type: ignore[operator]
        raise ValueError("not above 0")
    return number
