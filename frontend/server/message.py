"""One HTTP request and one HTTP response as plain values, the same from both ways in.

The fast lane and the Flask views build an `HttpRequest` each in their own way; everything behind it sees no framework
object. Invariant: `body` is complete, or `body_too_large` is set and `body` is empty (the rest was drained). A message
is made once its body is complete, so that two moments are known: when the headers were there, and when the body was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from engine.clock import now_ns
from engine.stores.lookup import Lookup
from frontend.server.decoding_room import Room

# Multipart boundaries and part headers come on top of the file itself; the file's own size is checked once it is known.
MULTIPART_SLACK_BYTES = 64 * 1024

JSON_TYPE = ("Content-Type", "application/json")

_NO_FIELDS: Mapping[str, str] = MappingProxyType({})


class Upload(NamedTuple):
    """The file of a request, and what came with it."""

    data: memoryview
    filename: str  # last component only, without control characters, never empty
    content_type: str  # of the file part, or of a raw body; lower case without parameters; "" where none was given
    fields: Mapping[str, str] = _NO_FIELDS  # the other parts; the first one of a name counts
    is_multipart: bool = False
    is_named: bool = True  # False: the part of a form says what the file is, but has no file name


@dataclass(slots=True)
class HttpRequest:
    """A complete request. Header names are lower-case; of a field sent twice the last value counts."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes | bytearray | memoryview
    client_address: str
    arrival_ns: int = field(default_factory=now_ns)  # of the headers
    body_too_large: bool = False
    upload: Upload | None = None  # set when somebody else has parsed the form already and the body is gone
    complete_ns: int = field(default_factory=now_ns)  # when the body was complete
    room: Room | None = None  # in memory, for decoding what is long; kept as long as this request is
    is_unpacked: bool = False  # `body` is no longer in the Content-Encoding that the headers name
    lookup: Lookup | None = None  # of the file in the cache; begun once, also where the request is begun twice
    is_looked_up: bool = False  # there is a `lookup`, or there is to be none
    deployment: str = ""  # that it asks for, once that is read
    cache_ns: int = 0  # what looking up took of the time until the answer


@dataclass(slots=True)
class HttpResponse:
    """A complete response; the transport adds Content-Length, Connection and Date."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


def body_limit_bytes(max_upload_bytes: int) -> int:
    """The longest body worth keeping in memory for a file of at most `max_upload_bytes`."""
    return max_upload_bytes + MULTIPART_SLACK_BYTES


def encode_json(value: Any) -> bytes:
    """Compact UTF-8 JSON; NaN is a bug here, never an answer, so it raises ValueError."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def json_response(status: int, value: Any) -> HttpResponse:
    """A response whose whole body is `value` as JSON."""
    return HttpResponse(status, [JSON_TYPE], encode_json(value))
