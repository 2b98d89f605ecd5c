"""What a caller may ask for beside the audio: form fields, query parameters and two request headers.

Form fields win over the query. Names that we do not know are ignored: forms carry fields of other people's. A known
name with a value that is not allowed raises InvalidField, which names it.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

from engine.clock import Deadline
from engine.config import Settings
from engine.errors import InvalidField
from engine.spec import DEFAULT_DEPLOYMENT_ID
from frontend.predict.field import IDENTIFIER, ChoiceKind, Field, IdentifierKind, NumberKind
from frontend.server.message import HttpRequest

SEGMENTATIONS = ("silence", "fixed")
MAX_TIMEOUT_MS = 600_000
MAX_PRIORITY = 100
REQUEST_ID_HEADER = "X-Request-ID"
TIMEOUT_HEADER = "X-Request-Timeout-Ms"

# What the optimized route reads of a query or a form.
FIELDS: Mapping[str, Field] = {
    "top_k": Field(NumberKind(1, 1000, is_whole=True), "how many classes are listed"),
    "priority": Field(
        NumberKind(-MAX_PRIORITY, MAX_PRIORITY, is_whole=True),
        "higher is served first; negative: bulk, positive: interactive",
    ),
    "segmentation": Field(
        ChoiceKind(SEGMENTATIONS),
        "fixed: windows at fixed steps over the whole recording; silence: only what is louder than -35 dBFS",
    ),
    "overlap_s": Field(NumberKind(0, 3600), "overlap of fixed windows, in seconds; less than a window"),
    "min_confidence": Field(NumberKind(0, 1), "classes below it are not listed"),
    "deployment": Field(IdentifierKind(), "which model answers"),
}
TIMEOUT_MS = Field(NumberKind(1, MAX_TIMEOUT_MS), "how long the caller waits, in milliseconds; after it comes a 504")

_TIMEOUT_KEY = TIMEOUT_HEADER.lower()
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
        asked = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise InvalidField(f"The query has more than {_MAX_FIELDS} fields", field="query") from error
    changes: dict[str, Any] = {}
    # What a form overrides is looked at all the same: a value that is not allowed is refused wherever it stands.
    for name, text in (*asked, *fields.items()):
        if name in FIELDS:
            changes[name] = FIELDS[name].kind.read(name, text.strip())
    return replace(defaults, **changes)


def request_id_of(headers: Mapping[str, str]) -> str:
    """The caller's own id if it has the allowed form, else a fresh one of 32 hexadecimal digits."""
    given = headers.get("x-request-id")
    if given is not None and IDENTIFIER.fullmatch(given):
        return given
    return f"{random.getrandbits(128):032x}"  # unlike any other, which is all an id has to be; no system call


def deadline_of(request: HttpRequest, settings: Settings) -> Deadline:
    """When the answer is due. Raises InvalidField for a header that is no allowed number.

    A caller that names a time-out has it counted from the arrival of the headers. One that names none may have a slow
    link: 50 MB over it take longer than any answer, so that time does not count.
    """
    text = request.headers.get(_TIMEOUT_KEY)
    if text is None:
        return Deadline.after_s(settings.request_timeout_ms / 1000, since_ns=request.complete_ns)
    return Deadline.after_s(TIMEOUT_MS.kind.read(TIMEOUT_HEADER, text.strip()) / 1000, since_ns=request.arrival_ns)


def caller_hash_of(request: HttpRequest) -> int:
    """A number that is the same for one caller in every process, for fairness between callers."""
    return zlib.crc32(request.client_address.encode())
