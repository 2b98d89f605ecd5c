"""Sounds and files of them, made from a seed."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import soundfile

Array = np.ndarray[Any, np.dtype[Any]]
PCM_TAG = 1


def noise(frames: int, *, channels: int = 1, level_dbfs: float = -20.0, seed: int = 0) -> Array:
    """int16 `[frames, channels]` of uniform noise with this root mean square."""
    amplitude = 32_768 * 10 ** (level_dbfs / 20) * 3**0.5
    values = np.random.default_rng(seed).uniform(-amplitude, amplitude, (frames, channels))
    return np.clip(np.round(values), -32_768, 32_767).astype(np.int16)


def tone(frames: int, *, rate_hz: int, tone_hz: float, amplitude: float = 0.5) -> Array:
    """float32 `[frames]`."""
    return (amplitude * np.sin(2 * np.pi * tone_hz * np.arange(frames) / rate_hz)).astype(np.float32)


def chunk(name: bytes, payload: bytes, *, stated_bytes: int | None = None) -> bytes:
    """One RIFF chunk, padded to an even length."""
    size_bytes = len(payload) if stated_bytes is None else stated_bytes
    return name + struct.pack("<I", size_bytes) + payload + bytes(len(payload) % 2)


def fmt(channels: int = 1, rate_hz: int = 22_050, *, tag: int = PCM_TAG, bits: int = 16,
        block_bytes: int | None = None, byte_rate: int | None = None) -> bytes:
    """The payload of a fmt chunk; what is not given follows from the rest."""
    if block_bytes is None:
        block_bytes = channels * bits // 8 & 0xFFFF
    if byte_rate is None:
        byte_rate = min(rate_hz * block_bytes, 0xFFFFFFFF)
    return struct.pack("<HHIIHH", tag, channels, rate_hz, byte_rate, block_bytes, bits)


def riff(*chunks: bytes, magic: bytes = b"RIFF") -> bytes:
    """A WAVE file of these chunks."""
    body = b"WAVE" + b"".join(chunks)
    return magic + struct.pack("<I", len(body)) + body


def wav(samples: Array, rate_hz: int = 22_050, *, stated_bytes: int | None = None) -> bytes:
    """A plain 16-bit PCM WAV of int16 `[frames, channels]`."""
    data = samples.astype("<i2").tobytes()
    return riff(chunk(b"fmt ", fmt(samples.shape[1], rate_hz)), chunk(b"data", data, stated_bytes=stated_bytes))


def encoded(samples: Array, rate_hz: int, file_format: str, subtype: str) -> bytes:
    """The same sound in any format that libsndfile writes."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format=file_format, subtype=subtype)
    return file.getvalue()


def flac_claiming(body: bytes, frames: int) -> bytes:
    """A FLAC file whose header says that it holds `frames`, a number of 36 bits."""
    changed = bytearray(body)
    changed[21] = (changed[21] & 0xF0) | (frames >> 32)
    changed[22:26] = (frames & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(changed)
