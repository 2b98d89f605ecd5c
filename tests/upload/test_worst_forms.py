"""Forms made to take long: each is read, or refused with the bound that it breaks, in time linear in its size."""

from __future__ import annotations

import time

import pytest

from engine.errors import CallerError, NoFile
from frontend.predict.form import FormTooLarge
from frontend.predict.upload import parse_quickly, parse_upload

HEAD = b"--%s\r\nContent-Disposition: form-data; name=file; filename=x.wav\r\n\r\n"
SIZE = 8 << 20
GENEROUS_S = 3.0  # what is quadratic takes minutes at this size


def kind(boundary: bytes) -> str:
    return f'multipart/form-data; boundary="{boundary.decode()}"'


def filled(boundary: bytes, pattern: bytes) -> bytes:
    return HEAD % boundary + pattern * (SIZE // len(pattern))


PATTERNS = {
    "the boundary without a line break": (b"a", b"--ax"),
    "lines of two hyphens": (b"a", b"\n--"),
    "nothing but line breaks": (b"a", b"\r\n"),
    "a boundary that repeats itself": (b"ab" * 100, b"ab"),
    "all of a long boundary but its end": (b"a" * 200, b"\n--" + b"a" * 199 + b"b"),
    "lines of hyphens": (b"-" * 70, b"\n" + b"-" * 71),
    "blanks behind no boundary": (b"a", b"--a "),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_a_body_full_of_almost_boundaries_is_the_file(name: str) -> None:
    boundary, pattern = PATTERNS[name]
    body = filled(boundary, pattern)
    began = time.perf_counter()
    upload = parse_upload(kind(boundary), body)
    assert time.perf_counter() - began < GENEROUS_S
    assert len(upload.data) >= SIZE - 2 * len(pattern)


@pytest.mark.parametrize("pattern", [b"\n--ax", b"\r\n--a ", b"\n--a" + b" " * 300, b"\n--a\r"])
def test_lines_that_begin_like_the_boundary_are_refused_by_their_number(pattern: bytes) -> None:
    body = filled(b"a", pattern + b"x")
    began = time.perf_counter()
    with pytest.raises(FormTooLarge, match="10000 lines"):
        parse_upload(kind(b"a"), body)
    assert time.perf_counter() - began < GENEROUS_S


def test_a_few_of_them_are_part_of_the_sound() -> None:
    data = b"\n--ax" * 1_000
    body = HEAD % b"a" + data + b"\r\n--a--\r\n"
    assert parse_upload(kind(b"a"), body).data == data
    found = parse_quickly(kind(b"a"), body)
    assert found is not None and found.data == data


def part(header: bytes, data: bytes = b"") -> bytes:
    return b"--a\r\n" + header + b"\r\n\r\n" + data + b"\r\n"


NAMED = b"Content-Disposition: form-data; name=n"
TOO_LARGE = {
    "ten thousand fields": (part(NAMED) * 10_000, "1000 parts"),
    "a thousand parts of eight kilobytes of header": (part(NAMED + b";x=y" * 2_000) * 999, "headers of the parts"),
    "a part of thousands of header lines": (part(NAMED + b"\r\nX:" * 2_000), "64 lines"),
    "a header without an end": (b"--a\r\n" + NAMED + b"\r\nX: " + b"y" * 100_000, "8192 bytes"),
    "fields of sixty-four kilobytes": (part(NAMED, b"\xff" * 65_536) * 100, "fields beside the file"),
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_form_with_too_much_in_it_is_refused_by_the_bound_that_it_breaks(name: str) -> None:
    body, bound = TOO_LARGE[name]
    began = time.perf_counter()
    with pytest.raises(CallerError, match=bound):
        parse_upload(kind(b"a"), body)
    assert time.perf_counter() - began < GENEROUS_S


def test_an_endless_boundary_is_refused() -> None:
    with pytest.raises(FormTooLarge, match="256 bytes"):
        parse_upload(kind(b"a" * 60_000), b"x" * 1_000_000)


def test_an_event_loop_leaves_what_takes_long_to_a_thread() -> None:
    """The quick reading gives up early, the thorough one reads the same form."""
    body = part(NAMED) * 200 + part(NAMED + b"; filename=x.wav").replace(b"name=n", b"name=file") + b"--a--\r\n"
    assert parse_quickly(kind(b"a"), body) is None
    assert parse_upload(kind(b"a"), body).filename == "x.wav"


HEADERS = [
    b';a="', b'\\"', b"; ", b'="\\', b";filename*=utf-8''%ff", b";filename*0*=a''%41", b"=?utf-8?q?", b"=?", b"?=",
    b"=?utf-8?B?QUFB?= ", b"%22", b";boundary=", b"\r\n ", b"\t", b";a=b", b"\xff",
]  # fmt: skip


@pytest.mark.parametrize("junk", HEADERS)
def test_eight_kilobytes_of_any_header_take_no_time(junk: bytes) -> None:
    header = b'Content-Disposition: form-data; name=file; filename="' + junk * (8_000 // len(junk))
    began = time.perf_counter()
    for made in (header, header + b'"'):
        try:
            parse_upload(kind(b"a"), part(made, b"DATA"))
        except CallerError:
            pass
    assert time.perf_counter() - began < 0.5


@pytest.mark.parametrize("junk", [b'boundary="', b"boundary", b";boundary ", b'boundary="\\', b" ", b";", b'\\"'])
def test_sixty_kilobytes_of_content_type_take_no_time(junk: bytes) -> None:
    began = time.perf_counter()
    with pytest.raises((NoFile, FormTooLarge)):
        parse_upload("multipart/form-data;" + (junk * (60_000 // len(junk))).decode(), b"x")
    assert time.perf_counter() - began < 0.5
