"""Finding the file in what clients send."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from engine.errors import CallerError, NoFile
from frontend.predict.upload import RAW_FILENAME, EncodedFile, parse_upload
from frontend.server.message import Upload
from tests.upload.forms import Part, field, file, form

FORM = "multipart/form-data; boundary=XboundaryX"
DATA = bytes(range(256)) * 8 + b"\r\n--Xbound\r\n\n--XboundaryXYZ\r\n"


def parsed(*parts: Part) -> Upload:
    return parse_upload(FORM, form(*parts))


def test_the_file_is_a_view_of_the_body() -> None:
    body = form(file(DATA))
    upload = parse_upload(FORM, body)
    assert (upload.filename, upload.content_type, upload.fields, upload.is_multipart) == (
        "night.wav", "audio/wav", {}, True
    )
    assert upload.data == DATA and upload.data.readonly
    assert np.shares_memory(np.frombuffer(upload.data, np.uint8), np.frombuffer(body, np.uint8))


def test_fields_beside_the_file_before_and_after_it() -> None:
    after = (field("priority", "hoch ü"), field("top_k", "8"), field("empty", ""))
    upload = parsed(field("top_k", "7"), file(DATA), *after)
    assert upload.fields == {"top_k": "7", "priority": "hoch ü", "empty": ""}
    assert upload.data == DATA


@pytest.mark.parametrize("content_type", ["audio/wav", "application/octet-stream", "", "Audio/WAV; rate=1"])
def test_a_raw_body(content_type: str) -> None:
    upload = parse_upload(content_type, DATA)
    assert (upload.filename, upload.fields, upload.is_multipart) == (RAW_FILENAME, {}, False)
    assert upload.content_type == content_type.partition(";")[0].lower()
    assert upload.data == DATA


@pytest.mark.parametrize("body", [bytearray(form(file(DATA))), memoryview(form(file(DATA))),
                                  memoryview(b"xx" + form(file(DATA)))[2:]], ids=["bytearray", "memoryview", "slice"])
def test_other_kinds_of_buffers(body: bytearray | memoryview) -> None:
    assert parse_upload(FORM, body).data == DATA


@pytest.mark.parametrize("body", [
    form(), form(field("top_k", "7")), form(file(DATA, name="audio")), form(file(DATA, filename="")),
    form(Part('; name="file"', DATA)), form(Part("", DATA)), form(Part('; name="file; filename=x.wav', DATA)),
    b"", b"nothing", b"--XboundaryX", b"--XboundaryX--", b"--XboundaryX\r\n", form(file(DATA))[:60],
], ids=range(13))
def test_no_file_in_the_form(body: bytes) -> None:
    with pytest.raises(NoFile):
        parse_upload(FORM, body)


def test_no_file_at_all() -> None:
    for content_type in ("", "audio/wav", "application/json"):
        with pytest.raises(NoFile):
            parse_upload(content_type, b"")


@pytest.mark.parametrize("content_type", [
    "multipart/form-data", "multipart/form-data; boundary=", 'multipart/form-data; boundary=""', "multipart/form-data;",
])
def test_a_form_without_a_boundary(content_type: str) -> None:
    with pytest.raises(NoFile, match="boundary"):
        parse_upload(content_type, form(file(DATA)))


@pytest.mark.parametrize("content_type, boundary", [
    ('multipart/form-data; boundary="XboundaryX"', "XboundaryX"),
    ("Multipart/Form-Data; charset=utf-8; Boundary=XboundaryX", "XboundaryX"),
    ('multipart/form-data; boundary="a b:c/d"', "a b:c/d"),
    ("multipart/form-data; boundary=----WebKitFormBoundary7MA4Yxk; x=y", "----WebKitFormBoundary7MA4Yxk"),
    ("multipart/form-data; boundary=(a+b)*[c]", "(a+b)*[c]"),
    ("multipart/mixed; boundary=XboundaryX", "XboundaryX"),
])
def test_boundaries(content_type: str, boundary: str) -> None:
    assert parse_upload(content_type, form(file(DATA), boundary=boundary)).data == DATA


def test_a_part_without_a_content_type() -> None:
    assert parsed(file(DATA, content_type=None)).content_type == ""


@pytest.mark.parametrize("disposition, expected", [
    ('; name="file"; filename="night.wav"', "night.wav"),
    ("; name=file; filename=night.wav", "night.wav"),
    ('; filename="night.wav"; name="file"', "night.wav"),
    (';name="file";filename="night.wav"', "night.wav"),
    ('; Name="file"; FileName="Nacht im Mai.WAV"', "Nacht im Mai.WAV"),
    ('; name="file"; filename="a;b=c.wav"', "a;b=c.wav"),
    (r'; name="file"; filename="a \"quoted\" name.wav"', 'a "quoted" name.wav'),
    ('; name="file"; filename="a %22quoted%22 name.wav"', 'a "quoted" name.wav'),
    (r'; name="file"; filename="C:\\nights\\1.wav"', "1.wav"),
    (r'; name="file"; filename="C:\nights\1.wav"', "1.wav"),
    ('; name="file"; filename="/etc/passwd"', "passwd"),
    ('; name="file"; filename="../../x/../y.wav"', "y.wav"),
    ('; name="file"; filename=".."', RAW_FILENAME),
    ('; name="file"; filename="nights/"', RAW_FILENAME),
    ('; name="file"; filename="a\x00\x1b[31m.wav"', "a[31m.wav"),
    ('; name="file"; filename="Käuzchen 🦉.wav"', "Käuzchen 🦉.wav"),
    ("; name=\"file\"; filename=\"x.wav\"; filename*=UTF-8''K%C3%A4uzchen%20%F0%9F%A6%89.wav", "Käuzchen 🦉.wav"),
    ("; name=\"file\"; filename*=utf-8'de'a%2Fb.wav", "b.wav"),
    ("; name=\"file\"; filename*=ISO-8859-1''K%E4uzchen.wav", "Käuzchen.wav"),
    ("; name=file; filename*=windows-1251''%D1%EE%E2%E0.wav", "Сова.wav"),
    ("; name=file; filename=x.wav; filename*=no-charset''%D1.wav", "x.wav"),
    ("; name=file; filename*=x.wav", "x.wav"),
    ("; name=file; filename=x.wav; filename*=broken", "x.wav"),
    ("; name=file; filename=x.wav; filename*=UTF-8''", "x.wav"),
    ("; name=file; filename*0*=UTF-8''K%C3%A4; filename*1=uz; filename*2*=chen%2Ewav", "Käuzchen.wav"),
    ("; name=file; filename*1=chen.wav; filename*0=Kauz", "Kauzchen.wav"),
    ('; name="file"; filename="=?utf-8?B?S8OkdXpjaGVuLndhdg==?="', "Käuzchen.wav"),
    ('; name="file"; filename="=?UTF-8?b?S8OkdXpjaGVuLndhdg?="', "Käuzchen.wav"),
    ("; name=file; filename==?utf-8?Q?K=C3=A4uzchen_1=2Ewav?=", "Käuzchen 1.wav"),
    ('; name="file"; filename="=?iso-8859-1?q?K=E4uz?=\r\n =?ISO-8859-1?Q?chen?= 1.wav"', "Käuzchen 1.wav"),
    ('; name="file"; filename="=?utf-8?B?S8M=?= =?utf-8?B?pHV6Lndhdg==?="', "Käuz.wav"),  # a letter across two words
    ('; name="file"; filename="=?gb2312?B?w6jNt9OlLndhdg==?="', "猫头鹰.wav"),
    ('; name="file"; filename="=?utf-8*de?Q?K=C3=A4uz.wav?="', "Käuz.wav"),
    ('; name="file"; filename="=?utf-8?B?Li4vLi4vZXRjL3Bhc3N3ZC53YXY=?="', "passwd.wav"),
    ('; name="file"; filename="=?nobody?B?S8OkdXo=?=.wav"', "=?nobody?B?S8OkdXo=?=.wav"),
    ('; name="file"; filename="=?utf-8?B?S8Ok!?= x.wav"', "=?utf-8?B?S8Ok!?= x.wav"),
    ('; name="file"; filename="=?utf-8?X?abc?= =?utf-8?B?S.wav"', "=?utf-8?X?abc?= =?utf-8?B?S.wav"),
    ('; name="file"; filename="=?idna?Q?xn--a?=.wav"', "=?idna?Q?xn--a?=.wav"),
    ('; name="file"; filename="=?zip?B?S8Ok?=.wav"', "=?zip?B?S8Ok?=.wav"),
    ("; name=file; filename=Nacht im Mai.wav", "Nacht im Mai.wav"),
])
def test_file_names(disposition: str, expected: str) -> None:
    assert parsed(Part(disposition, DATA)).filename == expected


@pytest.mark.parametrize("line_end", [b"\r\n", b"\n"])
def test_line_ends_preambles_and_ends(line_end: bytes) -> None:
    preambles = [b"", b"\r\n", b"This is a form.\r\n", b"--Xboundary\n"]
    endings = [b"--\r\n", b"--", b"--\r\nepilogue", b"", b"-", b"\r\n"]
    for preamble, closing in product(preambles, endings):
        body = form(field("top_k", "1"), file(DATA), line_end=line_end, preamble=preamble, closing=closing)
        upload = parse_upload(FORM, body)
        assert (bytes(upload.data), upload.fields) == (DATA, {"top_k": "1"}), (preamble, closing)


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\n", b"\r", b"--", b"\r\n--", b"x\r\n\r\n"])
def test_data_that_looks_like_the_form_around_it(data: bytes) -> None:
    assert parsed(file(data), field("after", "yes")).data == data


def test_a_body_that_stops_in_the_middle_gives_what_is_there() -> None:
    body = form(field("top_k", "3"), file(b"0123456789"))
    start = body.index(b"0123")
    for end in range(start, start + 11):
        upload = parse_upload(FORM, body[:end])
        assert (bytes(upload.data), upload.fields) == (body[start:end][:10], {"top_k": "3"})


def test_headers_folded_in_any_case_and_others_are_read() -> None:
    body = (b"--XboundaryX\r\nX-Other: 1\r\n"
            b"content-DISPOSITION: form-data;\r\n\tname=\"file\";\r\n filename=\"a.wav\"\r\n"
            b"CONTENT-TYPE:audio/x-wav; q=1\r\nContent-Transfer-Encoding: binary\r\n\r\nDATA\r\n--XboundaryX--\r\n")
    upload = parse_upload(FORM, body)
    assert (upload.filename, upload.content_type, bytes(upload.data)) == ("a.wav", "audio/x-wav", b"DATA")


def test_long_fields_are_cut_and_too_many_parts_refused() -> None:
    assert len(parsed(field("note", "x" * 100_000), file(DATA)).fields["note"]) == 65_536
    with pytest.raises(CallerError, match="parts"):
        parsed(*[field(f"f{number}", "") for number in range(1_001)], file(DATA))


@pytest.mark.parametrize("odd", ["\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\xa0", "\u3000"])
def test_a_character_that_breaks_lines_elsewhere_is_part_of_a_name(odd: str) -> None:
    """A header line ends at CRLF and nowhere else."""
    upload = parsed(Part(f'; name="a{odd}b"', b"1"), file(DATA, f"Moor{odd}Nord.wav", content_type=f"audio/x{odd}wav"))
    assert (upload.filename, upload.fields) == (f"Moor{odd}Nord.wav", {f"a{odd}b": "1"})
    assert upload.content_type == f"audio/x{odd}wav" and upload.data == DATA
    assert parsed(Part(f"; name=file; filename=Moor{odd}Nord.wav", DATA)).filename == f"Moor{odd}Nord.wav"


def test_a_part_that_has_a_type_but_no_file_name_is_taken() -> None:
    later = Part('; name="file"', b"2", "audio/x")
    upload = parsed(field("top_k", "1"), Part('; name="file"', DATA, "audio/wav"), later)
    assert (bytes(upload.data), upload.content_type, upload.filename) == (DATA, "audio/wav", RAW_FILENAME)
    assert not upload.is_named and upload.fields == {"top_k": "1"}


def test_a_part_with_a_file_name_goes_before_one_without() -> None:
    upload = parsed(Part('; name="file"', b"1", "audio/wav"), file(DATA, "b.wav"))
    assert (bytes(upload.data), upload.filename, upload.is_named) == (DATA, "b.wav", True)


@pytest.mark.parametrize("kind", [None, "text/plain", "text/plain; charset=utf-8"])
def test_a_text_field_of_the_name_is_no_file(kind: str | None) -> None:
    with pytest.raises(NoFile):
        parsed(Part('; name="file"', DATA, kind))


def test_the_first_file_counts() -> None:
    assert bytes(parsed(file(b"1", "a.wav"), file(b"2", "b.wav")).data) == b"1"
    with pytest.raises(NoFile):
        parsed(file(b"1", ""), file(b"2", "b.wav"))


def test_long_runs_of_escapes_take_no_time() -> None:
    for junk in (b"\\" * 7_000, b'\\"' * 3_500, b';a="' * 2_000, b"; " * 4_000, b'="\\' * 2_500):
        body = b"--XboundaryX\r\nContent-Disposition: form-data; name=\"file" + junk + b"\r\n\r\nDATA"
        try:
            parse_upload(FORM, body)
        except NoFile:
            pass


def encoded_file(encoding: str, data: bytes) -> bytes:
    head = f'Content-Disposition: form-data; name="file"; filename="n.wav"\r\nContent-Transfer-Encoding: {encoding}'
    return b"--XboundaryX\r\n" + head.encode() + b"\r\n\r\n" + data + b"\r\n--XboundaryX--\r\n"


@pytest.mark.parametrize("encoding", ["base64", "BASE64 ", "quoted-printable"])
def test_a_file_that_was_encoded_as_text_is_refused_by_that_name(encoding: str) -> None:
    with pytest.raises(EncodedFile, match=encoding.strip().lower()):
        parse_upload(FORM, encoded_file(encoding, b"UklGRiQAAABXQVZF\r\n" * 20))


@pytest.mark.parametrize("encoding", ["binary", "8bit", "base64", "x-token"])
def test_an_encoding_that_a_file_is_not_in_costs_nothing(encoding: str) -> None:
    assert parse_upload(FORM, encoded_file(encoding, DATA)).data == DATA
