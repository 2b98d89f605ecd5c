"""Recordings made for a purpose, good and bad, as bytes of files."""

from __future__ import annotations

import io
import struct
import wave

import numpy as np
import numpy.typing as npt
import soundfile

from tests.conformance.model import SAMPLE_RATE_HZ

Track = npt.NDArray[np.float64]


def tone(duration_s: float, *, rate_hz: int = SAMPLE_RATE_HZ, level: float = 0.5, pitch_hz: float = 440) -> Track:
    """A sine, full scale 1.0."""
    moments_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    sine: Track = level * np.sin(2 * np.pi * pitch_hz * moments_s)
    return sine


def silence(duration_s: float, *, rate_hz: int = SAMPLE_RATE_HZ) -> Track:
    return np.zeros(round(duration_s * rate_hz))


def wav(*parts: Track, rate_hz: int = SAMPLE_RATE_HZ, channels: int = 1) -> bytes:
    """16-bit PCM."""
    samples = np.round(np.concatenate(parts) * 32767).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(rate_hz)
        writer.writeframes(np.repeat(samples, channels).tobytes())
    return file.getvalue()


def encoded(track: Track, kind: str, *, rate_hz: int = SAMPLE_RATE_HZ, subtype: str | None = None) -> bytes:
    """In any format of libsndfile."""
    file = io.BytesIO()
    soundfile.write(file, track, rate_hz, format=kind, subtype=subtype)
    return file.getvalue()


ONE_SECOND = wav(tone(1.0))
TWO_CALLS = wav(tone(0.5), silence(1.0), tone(0.5))  # two segments on silence, the second at about 1.35 s
SILENT = wav(silence(1.0))


def _header(*, channels: int = 1, data_bytes: int = 16000, rate_hz: int = SAMPLE_RATE_HZ) -> bytes:
    riff = b"RIFF" + struct.pack("<I", 36 + data_bytes) + b"WAVE"
    block = 2 * channels
    fmt = b"fmt " + struct.pack("<IHHIIHH", 16, 1, channels, rate_hz, rate_hz * block, block, 16)
    return riff + fmt + b"data" + struct.pack("<I", data_bytes)


def truncated() -> bytes:
    """Half of the samples that its header promises."""
    return ONE_SECOND[: 44 + 8000]


def lying_size() -> bytes:
    """A size field of nearly four gigabytes before one second of sound."""
    return ONE_SECOND[:40] + struct.pack("<I", 0xFFFFFFF0) + ONE_SECOND[44:]


def zero_channels() -> bytes:
    return _header(channels=0) + bytes(16000)


def no_frame() -> bytes:
    return _header(data_bytes=0)


def header_of_eight_hours() -> bytes:
    """A kilobyte that claims eight hours."""
    return _header(data_bytes=8 * 3600 * SAMPLE_RATE_HZ * 2) + ONE_SECOND[44 : 44 + 980]


def not_a_number() -> bytes:
    track = tone(1.0)
    track[100] = np.nan
    return encoded(track, "WAV", subtype="FLOAT")


def png() -> bytes:
    """The beginning of an image."""
    return b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + bytes(range(256)) * 8
