"""Files whose sound does not begin with the first byte."""

from __future__ import annotations

import numpy as np
import pytest

from engine.errors import CallerError, NotAudio
from frontend.audio.decode import Recording, decode
from tests.audio.sounds import encoded, noise, tone, wav

RATE_HZ = 44_100
SOUND = tone(RATE_HZ, rate_hz=RATE_HZ, tone_hz=900)
MP3 = encoded(SOUND, RATE_HZ, "MP3", "MPEG_LAYER_III")
FILES = {
    "MP3": MP3, "FLAC": encoded(SOUND, RATE_HZ, "FLAC", "PCM_16"), "OGG": encoded(SOUND, RATE_HZ, "OGG", "VORBIS"),
    "WAV": wav(noise(5_000)), "float WAV": encoded(SOUND, RATE_HZ, "WAV", "FLOAT"),
    "AIFF": encoded(SOUND, RATE_HZ, "AIFF", "PCM_16"),
}


def id3(size_bytes: int, *, footer: bool = False) -> bytes:
    size = bytes(size_bytes >> shift & 0x7F for shift in (21, 14, 7, 0))
    flags = bytes([0x10 if footer else 0])
    return b"ID3\4\0" + flags + size + b"\xff\xfb" * (size_bytes // 2) + (b"3DI\4\0\x10" + size if footer else b"")


APE = b"APETAGEX" + (2_000).to_bytes(4, "little") + (300 + 32).to_bytes(4, "little") + bytes(16) + bytes(300)
APE += b"APETAGEX" + bytes(24)
BEFORE = {
    "1,045 zeros": bytes(1_045), "a million zeros": bytes(1_000_000), "a line break": b"\r\n", "a small ID3": id3(256),
    "an ID3 of 200 KB": id3(200_000), "an ID3 with a footer": id3(2_000, footer=True), "two ID3s": id3(64) + id3(90),
    "an APE tag": APE, "an ID3 and zeros": id3(400) + bytes(777), "zeros and an ID3": bytes(10) + id3(400),
}


def read(body: bytes, *, require_wav: bool = False) -> Recording:
    return decode(body, max_duration_s=0, max_decoded_bytes=0, require_wav=require_wav)


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE)
def test_what_stands_before_the_sound_costs_nobody_a_recording(before: bytes) -> None:
    for name, body in FILES.items():
        expected, found = read(body), read(before + body)
        assert found.format == expected.format, name
        np.testing.assert_array_equal(found.samples, expected.samples)


@pytest.mark.parametrize("before", [b"", *BEFORE.values()], ids=["nothing", *BEFORE])
def test_where_wav_is_required_it_may_stand_behind_padding_too(before: bytes) -> None:
    assert len(read(before + FILES["WAV"], require_wav=True).samples) == 5_000
    with pytest.raises(NotAudio):
        read(before + MP3, require_wav=True)


@pytest.mark.parametrize("file_format, rate_hz", [("MP3", 44_100), ("MP3", 22_050), ("MP3", 11_025)])
def test_an_mp3_stream_is_found_behind_some_bytes_of_anything(file_format: str, rate_hz: int) -> None:
    body = encoded(tone(rate_hz, rate_hz=rate_hz, tone_hz=900), rate_hz, file_format, "MPEG_LAYER_III")
    expected = read(body).samples
    for seed, junk_bytes in enumerate((1, 700, 5_000, 60_000)):
        junk = np.random.default_rng(seed).bytes(junk_bytes).replace(b"\xff", b"\xfe")
        np.testing.assert_array_equal(read(junk + body).samples, expected)
    with pytest.raises(NotAudio):
        read(b"x" * 70_000 + body)


def test_the_last_frames_of_an_mp3_are_found_as_well() -> None:
    assert read(b"junk" + MP3[:2_000]).format == "MP3"


def test_noise_is_no_mp3_stream() -> None:
    for seed in range(40):
        with pytest.raises(CallerError):
            read(b"\x01" + np.random.default_rng(seed).bytes(80_000))


@pytest.mark.parametrize("body", [
    bytes(1_000_000), b"\r\n" * 50_000, id3(1 << 20), b"ID3\4\0\0\x7f\x7f\x7f\x7f",
    b"APETAGEX\0\0\0\0\xff\xff\xff\xff" + bytes(16),
    b"\xff\xfb\x90\x64" * 30_000, b"\xff" * 100_000, id3(0) * 20_000, (id3(0) + b"\0") * 20_000,
], ids=lambda body: repr(body[:12]))
def test_files_of_nothing_but_a_beginning_are_refused(body: bytes) -> None:
    with pytest.raises(CallerError):
        read(body)
