"""Valid forms are read as the original's parser reads them; anything else gets an answer or one of our errors."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.errors import CallerError, NoFile
from frontend.predict.upload import RAW_FILENAME, parse_upload
from tests.upload.forms import Part, form, read_by_werkzeug

TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Zl", "Zp"]), max_size=20)
NAMES = st.one_of(st.just("file"), st.sampled_from(["top_k", "priority"]), TEXT.filter(bool))
PIECES = st.sampled_from([b"\r\n", b"\n", b"--", b"Xb", b"XbX", b"\r", b" ", b"data", b"\0"])
DATA = st.one_of(st.binary(max_size=300), st.lists(PIECES, max_size=12).map(b"".join))
LINE_ENDS = st.sampled_from([b"\r\n", b"\n"])
BOUNDARIES = st.text("abcXYZ0189'()+_,-./:=?", min_size=1, max_size=40)


def escaped(value: str, by_percent: bool) -> str:
    """As browsers (%22) or HTTP libraries (backslashes) write a quoted string."""
    if by_percent:
        return value.replace("\\", "\\\\").replace('"', "%22")
    return value.replace("\\", "\\\\").replace('"', '\\"')


def without_file(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if name != "file"}


@st.composite
def parts(draw: st.DrawFn) -> Part:
    by_percent = draw(st.booleans())
    disposition = f'; name="{escaped(draw(NAMES), by_percent)}"'
    if draw(st.booleans()):
        disposition += f'; filename="{escaped(draw(TEXT), by_percent)}"'
    content_type = draw(st.sampled_from([None, "audio/wav", "application/octet-stream", "text/plain; charset=utf-8"]))
    return Part(disposition, draw(DATA), content_type)


@settings(max_examples=500, deadline=None)
@given(st.lists(parts(), max_size=5), BOUNDARIES, LINE_ENDS, st.sampled_from([b"", b"Hello\r\n"]))
def test_valid_forms(made: list[Part], boundary: str, line_end: bytes, preamble: bytes) -> None:
    assume(all(b"--" + boundary.encode() not in part.data + b"--" for part in made))
    content_type = f'multipart/form-data; boundary="{boundary}"'
    body = form(*made, boundary=boundary, line_end=line_end, preamble=preamble)
    expected = read_by_werkzeug(content_type, body)
    try:
        upload = parse_upload(content_type, body)
    except NoFile:
        assert not expected.filename
        return
    if not upload.is_named:  # a field to the original's parser, which decodes its data as text
        assert expected.filename is None and upload.content_type
        return
    assert expected.filename is not None
    # A part `file` without a file name but with a type is no field to us, and of no use to anybody here.
    assert without_file(upload.fields) == without_file(expected.fields)
    assert (bytes(upload.data), upload.content_type) == (expected.data, expected.content_type)
    base = expected.filename.replace("\\", "/").rpartition("/")[2].strip()
    assert upload.filename == (base if base not in ("", ".", "..") else RAW_FILENAME)


FRAGMENTS = st.sampled_from([
    b"--B", b"--B\r\n", b"--B--", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"Content-Disposition: form-data",
    b"; name=\"file\"", b"; filename=\"a.wav\"", b"; filename*=UTF-8''%ff%", b"; name=", b"\"", b"\\",
    b"Content-Type: audio/wav", b":", b"RIFF", b"\xff\xfe", b"\0", b" ",
])
BODIES = st.one_of(st.binary(max_size=200), st.lists(FRAGMENTS, max_size=30).map(b"".join))
CONTENT_TYPES = st.sampled_from([
    "multipart/form-data; boundary=B", 'multipart/form-data; boundary="B', "audio/wav", "",
])


@settings(max_examples=600, deadline=None)
@given(BODIES, st.one_of(CONTENT_TYPES, st.text(max_size=60)))
def test_any_bytes(body: bytes, content_type: str) -> None:
    try:
        upload = parse_upload(content_type, body)
    except CallerError:
        return
    assert upload.filename and "/" not in upload.filename and "\\" not in upload.filename
    assert len(upload.data) <= len(body)
    assert bytes(upload.data) in body
