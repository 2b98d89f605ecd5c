"""Multipart bodies as clients write them, and werkzeug's reading of them."""

from __future__ import annotations

import io
from dataclasses import dataclass

from werkzeug.formparser import parse_form_data


@dataclass(frozen=True)
class Part:
    disposition: str  # parameters after `form-data`
    data: bytes
    content_type: str | None = None


def field(name: str, value: str) -> Part:
    return Part(f'; name="{name}"', value.encode())


def file(data: bytes, filename: str = "night.wav", *, name: str = "file",
         content_type: str | None = "audio/wav") -> Part:
    return Part(f'; name="{name}"; filename="{filename}"', data, content_type)


def form(*parts: Part, boundary: str = "XboundaryX", line_end: bytes = b"\r\n", preamble: bytes = b"",
         closing: bytes = b"--\r\n") -> bytes:
    body = preamble
    for part in parts:
        head = [f"--{boundary}", f"Content-Disposition: form-data{part.disposition}"]
        if part.content_type is not None:
            head.append(f"Content-Type: {part.content_type}")
        body += line_end.join(line.encode() for line in head) + 2 * line_end + part.data + line_end
    return body + f"--{boundary}".encode() + closing


@dataclass(frozen=True)
class Reading:
    """What the original's parser makes of a form: the first file named `file`, the first value of each field."""

    filename: str | None
    data: bytes | None
    content_type: str | None
    fields: dict[str, str]


def read_by_werkzeug(content_type: str, body: bytes) -> Reading:
    environ = {
        "wsgi.input": io.BytesIO(body), "CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(body)),
        "REQUEST_METHOD": "POST",
    }
    _, fields, files = parse_form_data(environ, stream_factory=lambda *_, **__: io.BytesIO())
    found = files.get("file")
    plain = {name: fields[name] for name in fields}
    if found is None:
        return Reading(None, None, None, plain)
    return Reading(found.filename, found.read(), found.mimetype, plain)
