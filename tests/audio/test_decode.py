"""Every format, every limit, every refusal."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from engine.errors import AudioTooLong, NotAudio, UndecodableAudio
from frontend.audio import sndfile
from frontend.audio.decode import Recording, decode
from tests.audio.sounds import encoded, flac_claiming, noise, tone, wav
from tests.support.shared import NIGHTS, Night

RATE_HZ = 48_000
SOUND = tone(RATE_HZ, rate_hz=RATE_HZ, tone_hz=1_000)
EIGHT_HOURS_FRAMES = 8 * 3_600 * RATE_HZ
LOSSLESS = [("WAV", "PCM_24"), ("WAV", "DOUBLE"), ("FLAC", "PCM_16"), ("AIFF", "PCM_16"), ("AU", "PCM_16"),
            ("CAF", "PCM_16"), ("W64", "PCM_16"), ("VOC", "PCM_16")]
LOSSY = [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("WAV", "IMA_ADPCM"), ("WAV", "ULAW")]


def read(body: bytes, *, max_duration_s: float = 0, max_decoded_bytes: int = 0, require_wav: bool = False) -> Recording:
    return decode(
        body, max_duration_s=max_duration_s, max_decoded_bytes=max_decoded_bytes, require_wav=require_wav
    )


@pytest.mark.parametrize("file_format, subtype", LOSSLESS + LOSSY)
def test_formats(file_format: str, subtype: str) -> None:
    recording = read(encoded(SOUND, RATE_HZ, file_format, subtype))
    assert (recording.format, recording.sample_rate_hz, recording.channels) == (file_format, RATE_HZ, 1)
    assert recording.samples.dtype == np.float32
    assert abs(len(recording.samples) - RATE_HZ) < 2_500
    middle = recording.samples[10_000:30_000, 0]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert abs(np.argmax(spectrum) * RATE_HZ / len(middle) - 1_000) < 5
    assert abs(np.abs(middle).max() - 0.5) < 0.05


@pytest.mark.parametrize("file_format, subtype", LOSSLESS)
def test_lossless_formats_are_exact(file_format: str, subtype: str) -> None:
    samples = noise(5_000, channels=2, seed=3)
    exact = samples.astype(np.float32) / 32_768
    recording = read(encoded(exact if subtype == "DOUBLE" else samples, RATE_HZ, file_format, subtype))
    np.testing.assert_array_equal(recording.samples, exact)


@pytest.mark.parametrize("file_format, subtype", [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("WAV", "FLOAT")])
def test_reading_in_blocks_changes_nothing(file_format: str, subtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    body = encoded(SOUND, RATE_HZ, file_format, subtype)
    whole = read(body)
    monkeypatch.setattr("frontend.audio.sndfile.BLOCK_FRAMES", 777)
    np.testing.assert_array_equal(read(body).samples, whole.samples)


@pytest.mark.parametrize("night", NIGHTS)
def test_a_night_is_read_whole(night: Night) -> None:
    recording = read(night.content, require_wav=True)
    assert (recording.samples.shape, recording.sample_rate_hz, recording.duration_s) == ((220_000, 1), 22_000, 10.0)


@pytest.mark.parametrize("file_format, subtype", [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("AIFF", "PCM_16")])
def test_half_a_file_gives_the_half_that_is_there(file_format: str, subtype: str) -> None:
    body = encoded(noise(5 * RATE_HZ, seed=4), RATE_HZ, file_format, subtype)
    recording = read(body[:len(body) // 2])
    assert 1.5 < recording.duration_s < 3.5
    np.testing.assert_allclose(recording.samples, read(body).samples[:len(recording.samples)])


@pytest.mark.parametrize("body", [
    b"", b"R", b"\x89PNG\r\n\x1a\n" + bytes(100), b"{}", b"RIFF\x00\x00\x00\x00WEBPVP8 ",
    b"RIFF\x00\x00\x00\x00AVI LIST",
    bytes(1_000), b"hello, I am not audio" * 40, b"%PDF-1.7", b"GIF89a", b"PK\x03\x04" + bytes(50),
], ids=lambda body: repr(body[:6]))
def test_what_is_not_audio(body: bytes) -> None:
    with pytest.raises(NotAudio):
        read(body)


@pytest.mark.parametrize("body", [
    b"fLaC", b"fLaC" + bytes(100), b"OggS" + bytes(100), b"ID3\x04" + bytes(200), b"FORM\x00\x00\x00\x00AIFF",
    b".snd" + bytes(30), b"\xff\xfb\x90\x00" + bytes(20),
], ids=lambda body: repr(body[:6]))
def test_what_is_audio_by_its_magic_only(body: bytes) -> None:
    with pytest.raises(UndecodableAudio):
        read(body)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("position", [0, 40_000, -1])
def test_samples_that_are_no_sound(value: float, position: int) -> None:
    samples = SOUND.copy()
    samples[position] = value
    with pytest.raises(UndecodableAudio):
        read(encoded(samples, RATE_HZ, "WAV", "FLOAT"))


def test_an_empty_flac_holds_no_frame() -> None:
    with pytest.raises(UndecodableAudio):
        read(encoded(SOUND, RATE_HZ, "FLAC", "PCM_16")[:120])


def test_only_wav_where_wav_is_required() -> None:
    with pytest.raises(NotAudio):
        read(encoded(SOUND, RATE_HZ, "FLAC", "PCM_16"), require_wav=True)
    assert read(encoded(SOUND, RATE_HZ, "WAV", "FLOAT"), require_wav=True).format == "WAV"


@pytest.mark.parametrize("file_format, subtype", [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")])
def test_the_duration_limit(file_format: str, subtype: str) -> None:
    body = encoded(SOUND, RATE_HZ, file_format, subtype)
    assert read(body, max_duration_s=1.0).duration_s == 1.0
    with pytest.raises(AudioTooLong, match="0.9"):
        read(body, max_duration_s=0.9)


def test_the_memory_limit_counts_what_must_be_decoded() -> None:
    body = encoded(SOUND, RATE_HZ, "FLAC", "PCM_16")
    assert len(read(body, max_decoded_bytes=RATE_HZ * 4).samples) == RATE_HZ
    with pytest.raises(AudioTooLong):
        read(body, max_decoded_bytes=RATE_HZ * 4 - 1)
    assert read(wav(noise(RATE_HZ)), max_decoded_bytes=10).samples.dtype == np.int16


def test_a_header_that_claims_eight_hours_on_a_kilobyte_is_decoded_for_what_is_there() -> None:
    body = encoded(np.zeros((20_480, 1), np.int16), RATE_HZ, "FLAC", "PCM_16")
    assert len(body) < 10_000
    lying = flac_claiming(body[:1_024], EIGHT_HOURS_FRAMES * 20)
    tracemalloc.start()
    try:
        recording = read(lying, max_duration_s=600, max_decoded_bytes=1 << 30)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0 < len(recording.samples) <= 20_480
    assert peak_bytes < 5_000_000


def test_a_header_that_may_be_true_is_refused_before_anything_is_decoded() -> None:
    lying = flac_claiming(encoded(noise(RATE_HZ * 5), RATE_HZ, "FLAC", "PCM_16"), EIGHT_HOURS_FRAMES)
    tracemalloc.start()
    try:
        with pytest.raises(AudioTooLong):
            read(lying, max_duration_s=600)
        with pytest.raises(AudioTooLong):
            read(lying, max_decoded_bytes=1 << 30)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2_000_000


def test_a_stream_longer_than_its_header_says_is_stopped_at_the_limit() -> None:
    body = flac_claiming(encoded(noise(RATE_HZ * 5), RATE_HZ, "FLAC", "PCM_16"), 0)
    with pytest.raises(AudioTooLong):
        read(body, max_duration_s=2)


@pytest.mark.parametrize("claimed_frames", [0, 1 << 35])
def test_a_stream_of_unknown_length_is_refused_before_the_memory_is_spent(claimed_frames: int) -> None:
    silence = encoded(np.zeros((RATE_HZ * 120, 1), np.int16), RATE_HZ, "FLAC", "PCM_16")
    body = flac_claiming(silence, claimed_frames)
    tracemalloc.start()
    try:
        with pytest.raises(AudioTooLong):
            read(body, max_decoded_bytes=RATE_HZ * 119 * 4)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert len(read(body, max_decoded_bytes=RATE_HZ * 120 * 4).samples) == RATE_HZ * 120


def test_a_recording_is_held_once_while_it_is_decoded() -> None:
    body = encoded(noise(RATE_HZ * 20, channels=2), RATE_HZ, "FLAC", "PCM_16")
    tracemalloc.start()
    try:
        samples = read(body, max_decoded_bytes=1 << 30).samples
        assert tracemalloc.get_traced_memory()[1] < samples.nbytes * 1.1
    finally:
        tracemalloc.stop()


def test_the_search_for_frames_among_rubbish_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = b"\xff\xfb\x90\x00" + bytes(413)  # 128 kbit/s at 44,100 Hz
    body = 3 * frame + 60 * (frame + 900 * b"\x55")
    whole = read(body)
    monkeypatch.setattr(sndfile, "MAX_SINGLE_READS", 20_000)
    part = read(body)
    assert 0.2 * len(whole.samples) < len(part.samples) < 0.6 * len(whole.samples)
    assert read(1000 * frame).duration_s > 26  # where nothing is damaged there is nothing to be searched


def test_what_is_wrong_with_a_file_is_said_in_words_about_the_file() -> None:
    with pytest.raises(NotAudio, match="empty"):
        read(b"")
    with pytest.raises(UndecodableAudio, match="nothing in it can be read"):
        read(b"ID3\3\0\0\0\0\0\0\xff\xfb\x90\0" + 5_000 * b"\x55")
