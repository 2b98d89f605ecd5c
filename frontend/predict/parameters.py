"""What a caller may ask for beside the audio: form fields, query parameters and two request headers.

Form fields win over the query. Names that we do not know are ignored: forms carry fields of other people's. A known
name with a value that is not allowed raises InvalidField, which names it.
"""

from __future__ import annotations

import math
import random
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

from engine.clock import Deadline
from engine.config import Settings
from engine.errors import InvalidField
from engine.spec import DEFAULT_DEPLOYMENT_ID
from frontend.server.message import HttpRequest

SEGMENTATIONS = ("silence", "fixed")
MAX_TIMEOUT_MS = 600_000
MAX_PRIORITY = 100
TIMEOUT_HEADER = "x-request-timeout-ms"

_REQUEST_ID = re.compile(r"[\w.-]{1,128}", re.ASCII)
_MAX_TOP_K = 1000
_MAX_NUMBER_CHARACTERS = 32  # thousands of digits take quadratic time to read; no number in range is this long
_MAX_FIELDS = 100  # of one query string; bounds the work for a hostile one
_MAX_QUERY_CHARACTERS = 8_192  # 64 KB of escapes, which a head may hold, take 25 ms to read


@dataclass(frozen=True, slots=True)
class Parameters:
    """What one request asks for. `segmentation` empty: whatever the route or the settings say."""

    top_k: int = 5
    priority: int = 0
    segmentation: str = ""
    overlap_s: float = 0.0
    min_confidence: float = 0.0
    deployment: str = DEFAULT_DEPLOYMENT_ID

    @property
    def level(self) -> int:
        """-1 bulk, 0 normal, 1 interactive."""
        return (self.priority > 0) - (self.priority < 0)


def read_parameters(query: str, fields: Mapping[str, str], defaults: Parameters) -> Parameters:
    """`defaults` with what the query and then the form fields change. Raises InvalidField."""
    if not query and not fields:
        return defaults
    if len(query) > _MAX_QUERY_CHARACTERS:
        raise InvalidField(f"The query has more than {_MAX_QUERY_CHARACTERS} characters", field="query")
    try:
        given = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS))
    except ValueError as error:
        raise InvalidField(f"The query has more than {_MAX_FIELDS} fields", field="query") from error
    given.update(fields)
    known = [(name, read) for name, read in _READERS.items() if name in given]
    changes: dict[str, Any] = {name: read(name, given[name].strip()) for name, read in known}
    return replace(defaults, **changes)


def request_id_of(headers: Mapping[str, str]) -> str:
    """The caller's own id if it has the allowed form, else a fresh one of 32 hexadecimal digits."""
    given = headers.get("x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return f"{random.getrandbits(128):032x}"  # unlike any other, which is all an id has to be; no system call


def deadline_of(request: HttpRequest, settings: Settings) -> Deadline:
    """When the answer is due. Raises InvalidField for a header that is no allowed number.

    A caller that names a time-out has it counted from the arrival of the headers. One that names none may have a slow
    link: 50 MB over it take longer than any answer, so that time does not count.
    """
    text = request.headers.get(TIMEOUT_HEADER)
    if text is None:
        return Deadline.after_s(settings.request_timeout_ms / 1000, since_ns=request.complete_ns)
    return Deadline.after_s(_timeout_ms(text) / 1000, since_ns=request.arrival_ns)


def caller_hash_of(request: HttpRequest) -> int:
    """A number that is the same for one caller in every process, for fairness between callers."""
    return zlib.crc32(request.client_address.encode())


def _timeout_ms(text: str) -> float:
    value = _number(text.strip(), float) if len(text) <= _MAX_NUMBER_CHARACTERS else None
    if value is None or not 1 <= value <= MAX_TIMEOUT_MS:
        raise InvalidField(
            f"X-Request-Timeout-Ms must be a number from 1 to {MAX_TIMEOUT_MS}", field="X-Request-Timeout-Ms"
        )
    return value


def _number(text: str, kind: Callable[[str], float]) -> float | None:
    try:
        value = kind(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _between(low: float, high: float, kind: Callable[[str], float]) -> Callable[[str, str], float]:
    def read(name: str, text: str) -> float:
        value = _number(text, kind) if len(text) <= _MAX_NUMBER_CHARACTERS else None
        if value is None or not low <= value <= high:
            what = "a whole number" if kind is int else "a number"
            raise InvalidField(f"{name} must be {what} from {low:g} to {high:g}", field=name)
        return value

    return read


def _segmentation(name: str, text: str) -> str:
    if text not in SEGMENTATIONS:
        raise InvalidField(f"{name} must be one of: {', '.join(SEGMENTATIONS)}", field=name)
    return text


def _deployment(name: str, text: str) -> str:
    if not _REQUEST_ID.fullmatch(text):
        raise InvalidField(f"{name} must be 1 to 128 letters, digits, '_', '.' or '-'", field=name)
    return text


_READERS: dict[str, Callable[[str, str], object]] = {
    "top_k": _between(1, _MAX_TOP_K, int),
    "priority": _between(-MAX_PRIORITY, MAX_PRIORITY, int),
    "segmentation": _segmentation,
    "overlap_s": _between(0, 3600, float),
    "min_confidence": _between(0, 1, float),
    "deployment": _deployment,
}
