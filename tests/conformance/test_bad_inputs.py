"""Nothing that a client sends may end in a 500, crash a process or leave a slot behind.

The fixture `served` looks at the slots of all lanes after every test here, as in the other files of this folder.
"""

from __future__ import annotations

import gzip
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance import sounds
from tests.conformance.conftest import Served
from tests.conformance.wire import BOUNDARY, answer_on, head, multipart

OPTIMIZED = "/api/optimized/predict"
LEGACY = "/api/predict"
JUNK = settings(max_examples=24, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)

BAD = {
    "empty": (b"", 400, "NO_FILE", "No file uploaded"),
    "zero channels": (sounds.zero_channels(), 400, "UNDECODABLE", "Invalid WAV file"),
    "no frame": (sounds.no_frame(), 400, "UNDECODABLE", "Invalid WAV file"),
    "NaN": (sounds.not_a_number(), 400, "UNDECODABLE", "Invalid WAV file"),
    "silent": (sounds.SILENT, 400, "SILENT", "Audio file is silent"),
    "a constant": (sounds.wav(sounds.silence(1.0) + 0.1), 400, "SILENT", "Audio file is silent"),
    "an image": (sounds.png(), 415, "NOT_AUDIO", "Invalid WAV file"),
    "text": (b"hello world, this is no sound", 415, "NOT_AUDIO", "Invalid WAV file"),
}


def test_what_both_apis_answer(served: Served) -> None:
    for kind, (content, status, code, legacy_text) in BAD.items():
        optimized = served.address.post(OPTIMIZED, content, "audio/wav")
        assert (optimized.status, optimized.value["code"]) == (status, code), kind
        assert served.address.post(LEGACY, content, "audio/wav").pair == (400, {"error": legacy_text}), kind


@pytest.mark.parametrize("path", [OPTIMIZED, LEGACY])
def test_a_truncated_file_and_a_lying_size_are_decoded_for_what_is_there(served: Served, path: str) -> None:
    for content in (sounds.truncated(), sounds.lying_size(), sounds.header_of_eight_hours()):
        assert served.address.upload(path, content).status == 200


def test_a_truncated_file_tells_its_true_length(served: Served) -> None:
    assert served.address.upload(OPTIMIZED, sounds.truncated()).value["audio"]["duration_s"] == 0.5


def test_101_megabytes_get_their_refusal_and_not_a_reset(served: Served) -> None:
    content = bytes(101 * 1024 * 1024)
    answer = served.address.post(OPTIMIZED, content, "audio/wav")
    assert (answer.status, answer.value["code"]) == (413, "TOO_LARGE")
    body, kind = multipart(content, "night.wav", "audio/wav")
    assert served.address.post(LEGACY, body, kind).pair == (400, {"error": "File exceeds 100 MB limit"})


def test_a_refused_upload_keeps_its_connection(served: Served) -> None:
    refused = head("POST", OPTIMIZED, {"Content-Type": "audio/wav", "Content-Length": str(5 * 1024 * 1024)})
    good = head("POST", OPTIMIZED, {"Content-Type": "audio/wav", "Content-Length": str(len(sounds.ONE_SECOND))})
    with served.address.connection() as connection:
        connection.send(refused + bytes(5 * 1024 * 1024))
        assert answer_on(connection).status == 415
        connection.send(good + sounds.ONE_SECOND)
        assert answer_on(connection).status == 200


def test_too_many_windows(served: Served) -> None:
    content = sounds.wav(sounds.tone(300))
    answer = served.address.post(f"{OPTIMIZED}?overlap_s=0.9", content, "audio/wav")
    assert (answer.status, answer.value["code"]) == (413, "TOO_LONG")


@pytest.mark.parametrize("path", [OPTIMIZED, LEGACY])
def test_a_compressed_body_is_answered_like_the_plain_one(served: Served, path: str) -> None:
    form, kind = multipart(sounds.ONE_SECOND, "night.wav", "audio/wav")
    for body, content_type in ((sounds.ONE_SECOND, "audio/wav"), (form, kind)):
        assert served.address.post(path, gzip.compress(body), content_type, Content_Encoding="gzip").status == 200


def test_an_encoding_that_is_not_read_and_one_that_is_broken_are_named(served: Served) -> None:
    content = gzip.compress(sounds.ONE_SECOND)
    brotli = served.address.post(OPTIMIZED, content, "audio/wav", Content_Encoding="br")
    assert (brotli.status, brotli.value["code"]) == (415, "UNSUPPORTED_ENCODING")
    assert "'br'" in brotli.value["error"] and brotli.headers["accept-encoding"] == "gzip, deflate"
    legacy = served.address.post(LEGACY, content, "audio/wav", Content_Encoding="br")
    assert legacy.pair == (400, {"error": brotli.value["error"]})
    cut = served.address.post(OPTIMIZED, content[:-9], "audio/wav", Content_Encoding="gzip")
    assert (cut.status, cut.value["code"]) == (400, "BROKEN_ENCODING")


def test_a_few_kilobytes_that_unpack_to_more_than_the_limit_are_too_large(served: Served) -> None:
    bomb = gzip.compress(bytes(101 * 1024 * 1024), 1)
    answer = served.address.post(OPTIMIZED, bomb, "audio/wav", Content_Encoding="gzip")
    assert (answer.status, answer.value["code"]) == (413, "TOO_LARGE")


def test_a_part_without_a_file_name_is_taken_or_told_what_it_lacks(served: Served) -> None:
    body, kind = multipart(sounds.ONE_SECOND, "night.wav", "audio/wav")
    nameless = body.replace(b'; filename="night.wav"', b"")
    assert served.address.post(OPTIMIZED, nameless, kind).status == 200
    missing = "No file uploaded: the part 'file' has no file name"
    assert served.address.post(LEGACY, nameless, kind).pair == (400, {"error": missing})


def test_odd_line_breaks_and_encoded_words_in_a_file_name(served: Served) -> None:
    names = {"Moor\u2028Nord.wav": "Moor\u2028Nord.wav", "Moor\x85\x0b.wav": "Moor\x85\x0b.wav",
             "=?utf-8?B?S8OkdXpjaGVuLndhdg==?=": "Käuzchen.wav"}
    for sent, shown in names.items():
        assert served.address.upload(LEGACY, sounds.ONE_SECOND, sent).value[0]["segment"] == shown


def test_ten_thousand_fields_are_refused_by_number(served: Served) -> None:
    part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'.encode()
    kind = f"multipart/form-data; boundary={BOUNDARY}"
    answer = served.address.post(OPTIMIZED, part * 10_000, kind)
    assert answer.status == 400 and "1000 parts" in answer.value["error"]


@pytest.mark.parametrize("path", [OPTIMIZED, LEGACY])
def test_a_form_without_its_closing_boundary(served: Served, path: str) -> None:
    body, kind = multipart(sounds.ONE_SECOND, "night.wav", "audio/wav", end=False)
    assert served.address.post(path, body, kind).status == 200


@pytest.mark.parametrize("path", [OPTIMIZED, LEGACY])
@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=x"])
def test_a_form_without_a_boundary_that_fits(served: Served, path: str, boundary: str) -> None:
    body, _ = multipart(sounds.ONE_SECOND, "night.wav", "audio/wav")
    assert served.address.post(path, body, f"multipart/form-data{boundary}").status == 400


@pytest.mark.parametrize("path", [OPTIMIZED, LEGACY])
def test_a_client_that_hangs_up_half_way(served: Served, path: str) -> None:
    body, kind = multipart(sounds.ONE_SECOND, "night.wav", "audio/wav")
    start = head("POST", path, {"Content-Type": kind, "Content-Length": str(len(body))})
    for sent in (0, 1, 200, len(body) // 2, len(body) - 1):
        with served.address.connection() as connection:
            connection.send(start + body[:sent])
            connection.socket.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("path", [OPTIMIZED, LEGACY])
def test_a_client_that_hangs_up_before_its_answer(served: Served, path: str) -> None:
    content = sounds.wav(sounds.tone(60))
    start = head("POST", path, {"Content-Type": "audio/wav", "Content-Length": str(len(content))})
    for _ in range(5):
        with served.address.connection() as connection:
            connection.send(start + content)


@JUNK
@given(content=st.binary(min_size=1, max_size=300), repeat=st.integers(1, 150))
def test_random_bytes(served: Served, content: bytes, repeat: int) -> None:
    junk = (content * repeat)[:40_000]
    assert served.address.post(OPTIMIZED, junk, "audio/wav").status in (200, 400, 413, 415)
    assert served.address.post(LEGACY, junk, "audio/wav").status in (200, 400)


@JUNK
@given(position=st.integers(0, 60), value=st.binary(min_size=1, max_size=8))
def test_a_wav_header_with_other_bytes_in_it(served: Served, position: int, value: bytes) -> None:
    content = sounds.ONE_SECOND[:position] + value + sounds.ONE_SECOND[position + len(value) :]
    assert served.address.post(OPTIMIZED, content, "audio/wav").status in (200, 400, 413, 415)
    assert served.address.upload(LEGACY, content).status in (200, 400)


@JUNK
@given(noise=st.binary(min_size=0, max_size=400), position=st.integers(0, 400))
def test_a_form_with_noise_in_it(served: Served, noise: bytes, position: int) -> None:
    body, kind = multipart(sounds.ONE_SECOND, "night.wav", "audio/wav", {"top_k": "2"})
    broken = body[:position] + noise + body[position:]
    assert served.address.post(OPTIMIZED, broken, kind).status in (200, 400, 413, 415, 422)
    assert served.address.post(LEGACY, broken, kind).status in (200, 400)


def test_odd_file_names(served: Served) -> None:
    for name in ("x" * 5000 + ".wav", "naïve ☃.wav", 'quote\\".wav', "..wav", "new%0Aline.wav"):
        answer = served.address.upload(LEGACY, sounds.ONE_SECOND, name)
        assert answer.status == 200 and answer.value[0]["segment"].endswith(".wav"), name


def test_the_boundary_inside_the_sound(served: Served) -> None:
    marked = sounds.ONE_SECOND[:5000] + b"--" + BOUNDARY.encode() + sounds.ONE_SECOND[5000:]
    assert served.address.upload(OPTIMIZED, marked).status == 200
