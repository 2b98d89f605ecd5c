"""Requests made to cost a frontend as much as they can, each a complete HTTP message."""

from __future__ import annotations

import gzip
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import soundfile

OPTIMIZED = "/api/optimized/predict"
ORIGINAL = "/api/predict"
MB = 1 << 20
RATE_HZ = 22_050


@dataclass(frozen=True)
class WorstInput:
    """`make` gives one request; `needs_many_classes`: it goes to the model of a thousand classes."""

    name: str
    make: Callable[[], bytes]
    needs_many_classes: bool = False


def message(path: str, body: bytes, content_type: str, *lines: str) -> bytes:
    """A POST with these header lines besides."""
    given = [f"POST {path} HTTP/1.1", "Host: bench", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*given, *lines, "", ""]).encode() + body


def form(parts: bytes, *, path: str = OPTIMIZED) -> bytes:
    """A form with the boundary `a`."""
    return message(path, parts, "multipart/form-data; boundary=a")


def part(header: bytes, data: bytes = b"") -> bytes:
    return b"--a\r\nContent-Disposition: form-data; " + header + b"\r\n\r\n" + data + b"\r\n"


def file_of(pattern: bytes, size_bytes: int) -> bytes:
    return form(part(b"name=file; filename=x.wav") + pattern * (size_bytes // len(pattern)))


def wav(frames: int, *, rate_hz: int = RATE_HZ, channels: int = 1, kind: str = "<i2") -> bytes:
    """Noise, since silence would be left out."""
    noise = np.random.default_rng(1).integers(-9_000, 9_000, 1 << 20).astype("<i2")
    samples = np.resize(noise, frames * channels)
    data = (samples / np.float32(32_768)).astype(kind).tobytes() if kind == "<f4" else samples.tobytes()
    width = np.dtype(kind).itemsize * channels
    tag = 3 if kind == "<f4" else 1
    fmt = struct.pack("<HHIIHH", tag, channels, rate_hz, rate_hz * width, width, 8 * width // channels)
    chunks = b"WAVEfmt " + struct.pack("<I", len(fmt)) + fmt + b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


def flac(hours: float, *, rate_hz: int = 8_000, level: int = 0) -> bytes:
    """`level` 0: digital silence, which packs to almost nothing."""
    file = io.BytesIO()
    block = np.random.default_rng(2).integers(-level, level + 1, 60 * rate_hz).astype(np.int16)
    with soundfile.SoundFile(file, "w", rate_hz, 1, "PCM_16", format="FLAC") as writer:
        for _ in range(round(hours * 60)):
            writer.write(block)
    return file.getvalue()


def raw(body: bytes, query: str = "", *lines: str, path: str = OPTIMIZED) -> bytes:
    return message(path + query, body, "audio/wav", *lines)


def two_byte_pieces(size_bytes: int) -> bytes:
    """A chunked body whose chunks hold two bytes each."""
    head = f"POST {OPTIMIZED} HTTP/1.1\r\nHost: bench\r\nContent-Type: audio/wav\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + b"2\r\nab\r\n" * (size_bytes // 2) + b"0\r\n\r\n"


def _headers(count: int, length: int) -> bytes:
    return raw(b"x", "", *[f"X-{number}: {'y' * length}" for number in range(count)])


# Seconds of one window of the demo model are 8, of the model of a thousand classes 1.
INPUTS = (
    WorstInput("40 MB of almost-boundaries", lambda: file_of(b"--ax", 40 * MB)),
    WorstInput("40 MB of lines that begin like the boundary", lambda: file_of(b"\n--ax", 40 * MB)),
    WorstInput("40 MB of lines of two hyphens", lambda: file_of(b"\n--", 40 * MB)),
    WorstInput("1 MB of line breaks", lambda: file_of(b"\r\n", MB - 1000)),
    WorstInput("a form of 10,000 fields", lambda: form(part(b"name=a") * 10_000)),
    WorstInput("999 parts with a kilobyte of parameters", lambda: form(part(b"name=a" + b";x=y" * 250) * 999)),
    WorstInput("parts full of quotes", lambda: form(part(b'name="' + b'\\"' * 4_000) * 120)),
    WorstInput("parts full of percent signs", lambda: form(part(b"name=a; filename*=utf-8''" + b"%ff" * 2_600) * 120)),
    WorstInput("fields of invalid text", lambda: form(part(b"name=a", b"\xff" * 65_536) * 15)),
    WorstInput("60 KB of headers in 90 fields", lambda: _headers(90, 660)),
    WorstInput("60 KB in one header", lambda: _headers(1, 60_000)),
    WorstInput("60 KB of query", lambda: raw(b"x", "?a=" + "%41" * 20_000)),
    WorstInput("20 MB of deep JSON", lambda: message(OPTIMIZED, b"[" * (20 * MB), "application/json")),
    WorstInput("100 MB of WAV", lambda: raw(wav(49 * MB))),
    WorstInput("100 MB of WAV, on silence", lambda: raw(wav(49 * MB), "?segmentation=silence")),
    WorstInput("100 MB of stereo WAV at 96 kHz", lambda: raw(wav(24 * MB, rate_hz=96_000, channels=2))),
    WorstInput("100 MB of float WAV", lambda: raw(wav(24 * MB, kind="<f4"))),
    WorstInput("100 MB of WAV as a form, original API", lambda: form(
        part(b"name=file; filename=x.wav", wav(49 * MB)), path=ORIGINAL)),
    WorstInput("ten hours of FLAC", lambda: raw(flac(10))),
    WorstInput("four hours of silent FLAC", lambda: raw(flac(4))),
    WorstInput("an hour of noise as FLAC", lambda: raw(flac(1, level=3_000))),
    WorstInput("gzip of 101 MB of zeros", lambda: raw(gzip.compress(bytes(101 * MB), 1), "", "Content-Encoding: gzip")),
    WorstInput("gzip of 20 MB of WAV", lambda: raw(gzip.compress(wav(10 * MB), 1), "", "Content-Encoding: gzip")),
    WorstInput("a megabyte in pieces of two bytes", lambda: two_byte_pieces(MB)),
    WorstInput("240 windows in a megabyte", lambda: raw(wav(500_000), "?overlap_s=7.9")),
    WorstInput("2,000 windows, top_k=1000", lambda: raw(wav(2_000 * RATE_HZ), "?top_k=1000"), True),
    WorstInput("2,000 windows, top_k=100", lambda: raw(wav(2_000 * RATE_HZ), "?top_k=100"), True),
    WorstInput("2,000 windows, top_k=1000, min_confidence", lambda: raw(
        wav(2_000 * RATE_HZ), "?top_k=1000&min_confidence=0.0001"), True),
    WorstInput("600 windows, original API", lambda: raw(wav(590 * RATE_HZ), path=ORIGINAL), True),
)  # fmt: skip
