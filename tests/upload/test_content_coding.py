"""Compressed bodies: what is unpacked, what is refused, and what it costs at most."""

from __future__ import annotations

import gzip
import random
import zlib

import pytest

from engine.config import Settings
from engine.errors import BodyTooLarge, NoFile, OverloadError
from frontend.predict import content_coding
from frontend.predict.content_coding import BrokenEncoding, UnsupportedEncoding, coding_of, unpacked
from frontend.predict.dialect import upload_of
from frontend.server.message import HttpRequest

DATA = random.Random(5).randbytes(300_000) + bytes(1_000_000)
LIMIT = 4_000_000
SETTINGS = Settings(max_upload_bytes=LIMIT)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def opened(body: bytes, coding: str = "gzip", *, total_bytes: int = 1 << 30) -> bytes:
    return bytes(unpacked(body, coding, limit_bytes=LIMIT, total_bytes=total_bytes))


@pytest.mark.parametrize(("coding", "body"), [
    ("gzip", gzip.compress(DATA)),
    ("x-gzip", gzip.compress(DATA, 1)),
    ("gzip", gzip.compress(DATA[:100_000]) + gzip.compress(b"") + gzip.compress(DATA[100_000:])),
    ("gzip", gzip.compress(DATA) + bytes(512)),
    ("deflate", zlib.compress(DATA)),
    ("deflate", raw_deflate(DATA)),
], ids=["gzip", "x-gzip", "several members", "padding behind it", "deflate", "deflate without its header"])
def test_a_compressed_body_is_unpacked(coding: str, body: bytes) -> None:
    assert opened(body, coding_of(coding.upper())) == DATA


@pytest.mark.parametrize("given", ["", "identity", " Identity ", "identity, identity"])
def test_no_coding(given: str) -> None:
    assert coding_of(given) == ""


@pytest.mark.parametrize("given", ["br", "zstd", "gzip, gzip", "gzip, br", "compress", "x" * 9_000, "Käse", "a\x1bb"])
def test_an_encoding_that_is_not_read_is_named(given: str) -> None:
    with pytest.raises(UnsupportedEncoding) as caught:
        coding_of(given)
    assert ascii(given.lower()[:60]) in str(caught.value)
    assert "Content-Encoding" in str(caught.value) and len(str(caught.value)) < 200 and str(caught.value).isprintable()


@pytest.mark.parametrize("body", [
    gzip.compress(DATA)[:-1], gzip.compress(DATA)[:5_000], b"\x1f\x8b", b"no gzip at all",
    gzip.compress(DATA)[:-8] + bytes(8), gzip.compress(DATA) + gzip.compress(DATA)[:50], b"x",
])
def test_a_body_that_is_cut_off_or_damaged_is_refused(body: bytes) -> None:
    with pytest.raises(BrokenEncoding, match="gzip"):
        opened(body)


def test_a_few_kilobytes_that_stand_for_gigabytes_stop_at_the_limit() -> None:
    bomb = gzip.compress(bytes(64 << 20))
    assert len(bomb) < 70_000
    with pytest.raises(BodyTooLarge):
        opened(bomb)
    assert content_coding._account.total_bytes == 0


def test_endless_empty_members_are_refused() -> None:
    with pytest.raises(BrokenEncoding, match="10000 members"):
        opened(gzip.compress(b"") * 10_001)


def test_what_all_requests_hold_unpacked_is_bounded_and_counted_down_when_they_let_go() -> None:
    body = gzip.compress(DATA)
    first = unpacked(body, "gzip", limit_bytes=LIMIT, total_bytes=2_000_000)
    with pytest.raises(OverloadError):
        opened(body, total_bytes=2_000_000)
    view = memoryview(first)[10:]
    del first
    with pytest.raises(OverloadError):  # a window of it is still waited for
        opened(body, total_bytes=2_000_000)
    view.release()
    assert opened(body, total_bytes=2_000_000) == DATA


def request_of(body: bytes, encoding: str) -> HttpRequest:
    headers = {"content-type": "audio/wav", "content-encoding": encoding}
    return HttpRequest("POST", "/predict", "", headers, body, "192.0.2.7")


def test_a_request_is_unpacked_once_and_never_on_an_event_loop() -> None:
    request = request_of(gzip.compress(DATA), "gzip")
    assert upload_of(request, SETTINGS, quick=True) is None
    first = upload_of(request, SETTINGS)
    assert first is not None and first.data == DATA and request.body == DATA
    assert upload_of(request, SETTINGS) is first


def test_an_encoding_that_is_not_read_is_refused_at_once() -> None:
    with pytest.raises(UnsupportedEncoding):
        upload_of(request_of(b"x", "br"), SETTINGS, quick=True)


def test_an_empty_body_is_no_file_whatever_its_encoding() -> None:
    with pytest.raises(NoFile):
        upload_of(request_of(b"", "gzip"), SETTINGS)


def test_a_file_over_the_limit_is_too_large_packed_or_not() -> None:
    for body, encoding in ((gzip.compress(DATA), "gzip"), (DATA, "")):
        with pytest.raises(BodyTooLarge):
            upload_of(request_of(body, encoding), Settings(max_upload_bytes=len(DATA) - 1))
