"""The original API, row by row: answers and refusals with its own texts, over both ways in."""

from __future__ import annotations

import json
import struct

import pytest

from tests.conformance import sounds
from tests.conformance.conftest import Served
from tests.conformance.model import LABELS
from tests.conformance.wire import head, multipart

PATHS = ("/api/predict", "/predict", "/api/predict/predict", "/")


@pytest.mark.parametrize("path", PATHS)
def test_one_segment_has_no_number(served: Served, path: str) -> None:
    answer = served.address.upload(path, sounds.ONE_SECOND, "night.wav")
    assert answer.status == 200 and answer.headers["content-type"] == "application/json"
    (segment,) = answer.value
    assert set(segment) == {"segment", "time", "predictions"}
    assert segment["segment"] == "night.wav" and segment["time"] == 0.0
    probabilities = [row["probability"] for row in segment["predictions"]]
    assert len(probabilities) == 3 and probabilities == sorted(probabilities, reverse=True)
    assert all(set(row) == {"label", "probability"} and row["label"] in LABELS for row in segment["predictions"])
    assert 0 < sum(probabilities) <= 1


def test_several_segments_are_numbered_and_start_where_they_start(served: Served) -> None:
    first, second = served.address.upload("/api/predict", sounds.TWO_CALLS, "two.wav").value
    assert (first["segment"], second["segment"]) == ("two.wav#0", "two.wav#1")
    assert first["time"] == 0.0
    assert 1.3 <= second["time"] <= 1.5


def test_a_raw_body_has_the_name_of_an_upload(served: Served) -> None:
    for kind in ("audio/wav", "audio/x-wav", "audio/WAV; rate=8000"):
        answer = served.address.post("/api/predict", sounds.ONE_SECOND, kind)
        assert answer.status == 200
        assert answer.value[0]["segment"] == "upload.wav"


def test_only_the_last_part_of_a_name_comes_back(served: Served) -> None:
    for name in ("/home/pi/night.wav", "C:\\data\\night.wav", "../../night.wav"):
        assert served.address.upload("/api/predict", sounds.ONE_SECOND, name).value[0]["segment"] == "night.wav"


def test_no_part_named_file(served: Served) -> None:
    body, kind = multipart(sounds.ONE_SECOND, "night.wav", "audio/wav")
    other = body.replace(b'name="file"', b'name="audio"')
    answer = served.address.post("/api/predict", other, kind)
    assert answer.pair == (400, {"error": "No file uploaded"})


def test_an_empty_file_name(served: Served) -> None:
    assert served.address.upload("/api/predict", b"", "").pair == (400, {"error": "No file uploaded"})


def test_nothing_at_all(served: Served) -> None:
    for path in PATHS:
        answer = served.address.send(head("POST", path, {"Content-Length": "0"}))
        assert answer.pair == (400, {"error": "No file uploaded"})


def test_another_extension(served: Served) -> None:
    for name in ("night.mp3", "night", "night.wav.txt", "wav"):
        answer = served.address.upload("/api/predict", sounds.ONE_SECOND, name)
        assert answer.pair == (400, {"error": "WAV file required"}), name


def test_the_extension_in_any_case(served: Served) -> None:
    assert served.address.upload("/api/predict", sounds.ONE_SECOND, "NIGHT.WaV").status == 200


def test_a_raw_body_of_another_type(served: Served) -> None:
    for kind in ("application/json", "text/plain", "application/octet-stream", "audio/flac"):
        answer = served.address.post("/api/predict", sounds.ONE_SECOND, kind)
        assert answer.pair == (400, {"error": "Invalid content type"}), kind


def test_types_of_a_part_that_are_taken(served: Served) -> None:
    for kind in ("audio/wav", "audio/x-wav", "application/octet-stream", None, ""):
        body, content_type = multipart(sounds.ONE_SECOND, "night.wav", kind)
        assert served.address.post("/api/predict", body, content_type).status == 200, kind


def test_a_part_of_another_type(served: Served) -> None:
    body, content_type = multipart(sounds.ONE_SECOND, "night.wav", "image/png")
    assert served.address.post("/api/predict", body, content_type).pair == (400, {"error": "Invalid content type"})


def test_what_cannot_be_decoded(served: Served) -> None:
    for content in (b"hello", b"RIFF", b"RIFF\0\0\0\0WAVE", sounds.png(), sounds.no_frame()):
        assert served.address.upload("/api/predict", content).pair == (400, {"error": "Invalid WAV file"})


def test_another_audio_format_is_no_wav_file(served: Served) -> None:
    flac = sounds.encoded(sounds.tone(1.0), "FLAC")
    assert served.address.upload("/api/predict", flac).pair == (400, {"error": "Invalid WAV file"})


def test_silence(served: Served) -> None:
    assert served.address.upload("/api/predict", sounds.SILENT).pair == (400, {"error": "Audio file is silent"})


def test_longer_than_ten_minutes(served: Served) -> None:
    slow = sounds.wav(sounds.tone(601, rate_hz=1000, pitch_hz=50), rate_hz=1000)
    answer = served.address.upload("/api/predict", slow)
    assert answer.pair == (400, {"error": "Audio file too long (max 10 minutes)"})


def test_more_than_the_limit_declared(served: Served) -> None:
    too_large = sounds.ONE_SECOND + bytes(101 * 1024 * 1024)
    answer = served.address.post("/api/predict", too_large, "audio/wav")
    assert answer.pair == (400, {"error": "File exceeds 100 MB limit"})


def test_more_than_the_limit_streamed(served: Served) -> None:
    start = head("POST", "/api/predict", {"Content-Type": "audio/wav", "Transfer-Encoding": "chunked"})
    piece = bytes(1024 * 1024)
    chunk = f"{len(piece):x}\r\n".encode() + piece + b"\r\n"
    answer = served.address.send(start, *([chunk] * 101), b"0\r\n\r\n")
    assert answer.pair == (400, {"error": "File exceeds 100 MB limit"})


def test_a_chunked_upload_is_taken(served: Served) -> None:
    start = head("POST", "/api/predict", {"Content-Type": "audio/wav", "Transfer-Encoding": "chunked"})
    halves = (sounds.ONE_SECOND[:5000], sounds.ONE_SECOND[5000:])
    chunks = [f"{len(half):x}\r\n".encode() + half + b"\r\n" for half in halves]
    assert served.address.send(start, *chunks, b"0\r\n\r\n").status == 200


def test_every_answer_is_one_line_of_the_log(served: Served) -> None:
    answer = served.address.upload("/api/predict", sounds.TWO_CALLS, "logged-once.wav")
    lines = [line for line in served.predict_log.read_text().splitlines() if "logged-once" in line]
    assert [json.loads(line) for line in lines] == [answer.value]


def test_a_lying_size_and_a_cut_file_give_what_is_there(served: Served) -> None:
    for content in (sounds.truncated(), sounds.lying_size()):
        assert served.address.upload("/api/predict", content).status == 200
    assert struct.unpack("<I", sounds.lying_size()[40:44]) == (0xFFFFFFF0,)


def test_get_is_not_a_prediction(served: Served) -> None:
    assert served.address.get("/api/predict").status == 405
