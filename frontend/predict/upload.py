"""A request's body -> the uploaded file as one memoryview, and the small fields beside it.

A boundary is found by `bytes.find`, so that 353 KB take some tens of microseconds and nothing of the file is copied;
`form.py` says what is accepted. A recording cut off on its way is decoded for what is there.

A file name is a label for the answer and never a path: only its last component is kept.
"""

from __future__ import annotations

import re

from engine.errors import CallerError, NoFile
from frontend.predict.form import (
    FULL,
    MAX_BOUNDARY_BYTES,
    MAX_HEADER_BYTES,
    QUICK,
    Effort,
    Form,
    FormTooLarge,
    FormPart,
)
from frontend.predict.header_values import media_type, with_words_decoded
from frontend.server.message import Upload

RAW_FILENAME = "upload.wav"  # of a raw body, which has no name of its own
FILE_FIELD = "file"

_BOUNDARY = re.compile(r'(?:^|[;,\s])boundary\s*=\s*(?:"([^"\\]*(?:\\.[^"\\]*)*)"|([^\s;,"]+))', re.IGNORECASE)
# All but the line breaks of Unicode that are no line breaks of a header: they are parts of a name like any other.
_CONTROL = re.compile(r"[\x00-\x0a\x0d-\x1b\x1f\x7f]")


# Of a Content-Transfer-Encoding; forms on the web have had none since RFC 7578, and some say it of what is not encoded.
_TEXT_ENCODINGS = ("base64", "quoted-printable")
_LOOK_BYTES = 64  # no sound file begins with so many bytes of text


class EncodedFile(CallerError):
    """The file was encoded as text; send its own bytes"""

    code = "UNSUPPORTED_ENCODING"


def parse_upload(content_type: str, body: bytes | bytearray | memoryview) -> Upload:
    """Finds the file in a body: the first part named `file` of a multipart form, or the whole of any other body.

    In a form the part has a file name, or else, where no such part has one, a content type. `bytes` are fastest; a
    memoryview over part of a buffer is copied once. The result refers to the body.

    Raises NoFile for an empty body, a form without boundary, without such a part, or with an empty file name;
    FormTooLarge for a form beyond `form.FULL`, EncodedFile for a file in base64 or quoted-printable.
    Fields are cut at 64 KiB.
    """
    return _parse(content_type, body, FULL)


def parse_quickly(content_type: str, body: bytes | bytearray | memoryview) -> Upload | None:
    """`parse_upload` within a few milliseconds for a body of a megabyte; None for one that takes longer."""
    try:
        return _parse(content_type, body, QUICK)
    except FormTooLarge:
        return None


def label_of(filename: str) -> str:
    """What a file is called in an answer: encoded words in clear, the last component of a path of any system, without
    control characters; never empty."""
    last = _CONTROL.sub("", with_words_decoded(filename)).replace("\\", "/").rpartition("/")[2].strip()
    return RAW_FILENAME if last in ("", ".", "..") else last


def _parse(content_type: str, body: bytes | bytearray | memoryview, effort: Effort) -> Upload:
    whole = body if isinstance(body, bytes) else _searchable(body)
    kind = media_type(content_type)
    if kind.startswith("multipart/"):
        return _from_form(Form(_boundary(content_type), whole, effort), whole)
    if not whole:
        raise NoFile()
    return Upload(memoryview(whole).toreadonly(), RAW_FILENAME, kind)


def _from_form(form: Form, body: bytes | bytearray) -> Upload:
    file: FormPart | None = None
    nameless: FormPart | None = None
    fields: dict[str, str] = {}
    for part in form.parts():
        if part.filename is not None:
            if part.name == FILE_FIELD and file is None:
                file = part
        elif part.name == FILE_FIELD and part.content_type and not part.content_type.startswith("text/"):
            nameless = nameless or part
        else:
            fields.setdefault(part.name, form.text(part))
    found = file or nameless
    if found is None or found.filename == "":
        if form.has_long_header:
            raise FormTooLarge(f"the header of a part has more than {MAX_HEADER_BYTES} bytes")
        raise NoFile()
    data = memoryview(body).toreadonly()[found.start:found.end]
    _check_encoding(found.transfer_encoding, data)
    name = label_of(found.filename or "")
    return Upload(data, name, found.content_type, fields, is_multipart=True, is_named=file is not None)


def _check_encoding(encoding: str, data: memoryview) -> None:
    if encoding in _TEXT_ENCODINGS:
        begin = bytes(data[:_LOOK_BYTES])
        if begin.isascii() and b"\0" not in begin:
            raise EncodedFile(f"The part 'file' is encoded as {encoding}: send the file's own bytes")


def _searchable(body: bytes | bytearray | memoryview) -> bytes | bytearray:
    if not isinstance(body, memoryview):
        return body
    whole = body.obj
    if isinstance(whole, (bytes, bytearray)) and len(whole) == body.nbytes and body.contiguous:
        return whole
    return body.tobytes()


def _boundary(content_type: str) -> bytes:
    found = _BOUNDARY.search(content_type)
    value = (found.group(1) or found.group(2) or "") if found else ""
    boundary = re.sub(r"\\(.)", r"\1", value).encode("utf-8", "replace")
    if not boundary:
        raise NoFile("No file uploaded: the form has no boundary")
    if len(boundary) > MAX_BOUNDARY_BYTES:
        raise FormTooLarge(f"the boundary of the form has more than {MAX_BOUNDARY_BYTES} bytes")
    return boundary
