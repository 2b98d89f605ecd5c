"""An upload's bytes -> samples, with every limit applied before the memory is spent.

16-bit PCM WAV, which is what recorders write, becomes a numpy view of the body: nothing is copied. Everything else
that libsndfile reads (WAV of other depths, FLAC, Ogg, MP3, AIFF, AU, ...) is read block by block into float32; a file
whose header cannot be believed is counted first, so that none is refused for its length after the memory is spent. A
file that ends early, or lies about its length, gives the frames that are there; what stands before the sound (tags,
padding) or beside it (chunks that we do not use) costs nobody a recording. No path, no temporary file, no other input
than the body.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import soundfile

from engine.errors import AudioTooLong, NotAudio, UndecodableAudio
from frontend.audio.beginning import after_tags, sound_behind
from frontend.audio.sibling_chunks import without_unused_chunks
from frontend.audio.sndfile import ForwardStream, Samples
from frontend.audio.wav import (
    FLOAT,
    PCM,
    PLAIN_BYTES,
    WavHeader,
    bare,
    check_shape,
    is_wave,
    packed_wave,
    parse_wav,
    plain_pcm16,
)
from frontend.audio.wav_words import packed

_INT16 = np.dtype("<i2")  # as WAV files hold it
_LARGEST_SAMPLE = 2.0**40  # far above any integer scale that was stored as float; beyond it sums would overflow
# The densest honest stream is FLAC of silence: 65,535 frames in 11 bytes. A header that claims more is not believed,
# so that its file is decoded for what it holds; a header within this is, so that ten hours are refused unread.
_CREDIBLE_FRAMES_PER_BYTE = 6_000
_MAGICS = (b"fLaC", b"OggS", b"ID3", b"FORM", b".snd", b"dns.", b"caff", b"RIFX", b"riff", b"Creative Voice",
           b"NIST_1A")


# libsndfile's "not a regular file (possibly a pipe?)", of a stream without a frame, and "unspecified internal error".
_MISLEADING = (7, 29)


class Claim(NamedTuple):
    """What a long file will be once it is decoded, known before memory is spent for that."""

    frames: int
    channels: int
    sample_rate_hz: int
    sample_bytes: int  # of one sample of one channel
    spent_bytes: int  # on its samples and on getting them; 0: they are a view of the body


class Recording(NamedTuple):
    """A decoded recording.

    `samples` is `[frames, channels]`, at least one frame: int16 in [-32768, 32767] (a read-only view of the body,
    not necessarily aligned) or float32 with full scale 1.0, all finite.
    """

    samples: Samples
    sample_rate_hz: int
    channels: int
    format: str  # "WAV", "FLAC", "OGG", "MP3", ...
    has_8_bits: bool = False  # the file holds integers of 8 bits, in whose coarse steps splitting on silence counts

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate_hz


def decode(body: bytes | memoryview, *, max_duration_s: float, max_decoded_bytes: int,
           require_wav: bool = False, check_room: Callable[[Claim], None] | None = None) -> Recording:
    """Decodes one file. check_room: called, perhaps more than once, before memory is spent; what it raises goes on.

    max_duration_s: longest recording in seconds, 0 = no limit. max_decoded_bytes: most memory for the samples of a
    format that must be decoded into float32, 0 = no limit (16-bit PCM WAV needs none). require_wav: refuse whatever
    is not a WAV file by content.

    Raises NotAudio when nothing about the file looks like audio, UndecodableAudio when it is audio but broken, holds
    no frame, or holds NaN or infinity, AudioTooLong when it is over a limit.
    """
    limits = _Limits(max_duration_s, max_decoded_bytes, check_room)
    whole = memoryview(body)
    if not whole:
        raise NotAudio("The file is empty")
    view = whole[after_tags(whole):]
    if is_wave(view):
        return _decode_wave(view, limits)
    if require_wav:
        view = view[sound_behind(view):]
        if not is_wave(view):
            raise NotAudio("the file is not a WAV file")
        return _decode_wave(view, limits)
    try:
        return _decode_by_library(view, limits)
    except soundfile.SoundFileError as error:
        return _decode_behind(whole, view, limits, error)


def decode_in_place(
    body: bytes | memoryview, *, max_duration_s: float, check_room: Callable[[Claim], None] | None = None
) -> Recording | None:
    """`decode` in some microseconds for a 16-bit PCM WAV file; None for all others, which take longer.

    Raises UndecodableAudio and AudioTooLong as `decode` does.
    """
    limits = _Limits(max_duration_s, 0, check_room)
    plain = plain_pcm16(body)
    if plain is not None:
        return _view_pcm16(memoryview(body)[PLAIN_BYTES:], *plain, limits)
    if not is_wave(body):
        return None
    header = parse_wav(body)
    if not header.is_pcm16:
        return None
    data = memoryview(body)[header.data_start:header.data_start + header.data_bytes]
    return _view_pcm16(data, header.channels, header.sample_rate_hz, limits)


class _Limits(NamedTuple):
    max_duration_s: float
    max_decoded_bytes: int
    check_room: Callable[[Claim], None] | None = None

    def claim(self, frames: int, channels: int, rate_hz: int, sample_bytes: int, spent_bytes: int) -> None:
        if self.check_room is not None:
            self.check_room(Claim(frames, channels, rate_hz, sample_bytes, spent_bytes))

    def check_duration(self, frames: int, rate_hz: int) -> None:
        if self.max_duration_s and frames > self.max_duration_s * rate_hz:
            raise AudioTooLong(f"the recording is longer than {self.max_duration_s:g} s")

    def check(self, frames: int, file: ForwardStream) -> None:
        self.check_duration(frames, file.samplerate)
        if self.max_decoded_bytes and frames * file.channels * 4 > self.max_decoded_bytes:
            raise AudioTooLong(f"the decoded recording is larger than {self.max_decoded_bytes} bytes")


def _view_pcm16(data: memoryview, channels: int, rate_hz: int, limits: _Limits) -> Recording:
    frames = len(data) // (2 * channels)
    if not frames:
        raise UndecodableAudio("the WAV file holds no frame")
    if limits.max_duration_s:
        limits.check_duration(frames, rate_hz)
    if limits.check_room is not None:
        limits.claim(frames, channels, rate_hz, 2, 0)
    flat = np.frombuffer(data.toreadonly(), _INT16, frames * channels)
    return Recording(flat.reshape(frames, channels), rate_hz, channels, "WAV")


def _decode_wave(body: memoryview, limits: _Limits) -> Recording:
    header = parse_wav(body)
    if header.is_pcm16:
        data = body[header.data_start:header.data_start + header.data_bytes]
        return _view_pcm16(data, header.channels, header.sample_rate_hz, limits)
    if header.format_tag in (PCM, FLOAT):
        _claim_words(header, limits)
        tag, bits, words = packed(body, header)
        if tag == PCM and bits == 16:
            return _view_pcm16(memoryview(words), header.channels, header.sample_rate_hz, limits)
        plain = packed_wave(tag, bits, header, words)
    else:
        plain = bare(body, header)
    try:
        return _decode_by_library(plain, limits)
    except soundfile.SoundFileError as error:
        raise _refusal(body, error) from error


def _claim_words(header: WavHeader, limits: _Limits) -> None:
    frames = header.data_bytes // max(1, header.channels * header.word_bytes)
    copies = 1 if header.valid_bits == header.bits else 3  # words that are moved within their places, on their way
    samples_bytes = 4 * frames * header.channels
    limits.claim(frames, header.channels, header.sample_rate_hz, 4, samples_bytes + copies * header.data_bytes)


def _decode_behind(
    whole: memoryview, body: memoryview, limits: _Limits, error: soundfile.SoundFileError
) -> Recording:
    """`body`, the end of `whole`, which libsndfile refused with `error`, decoded from where its sound begins."""
    behind = body[sound_behind(body):]
    if is_wave(behind):
        return _decode_wave(behind, limits)
    bare_body = without_unused_chunks(behind)
    if bare_body is None and len(behind) == len(body):
        raise _refusal(whole, error) from error
    try:
        return _decode_by_library(bare_body or behind, limits)
    except soundfile.SoundFileError as second:
        raise _refusal(behind, second) from second


def _decode_by_library(body: bytes | memoryview, limits: _Limits) -> Recording:
    """Raises SoundFileError for what libsndfile does not read."""
    with ForwardStream(body) as file:
        check_shape(file.channels, file.samplerate)
        frames = _frames_of(file, body, limits)
        limits.claim(frames, file.channels, file.samplerate, 4, frames * file.channels * 4)
        samples = _read(file, frames)
        format_name = "WAV" if file.format in ("WAVEX", "RF64") else str(file.format)
        rate_hz, has_8_bits = int(file.samplerate), file.subtype in ("PCM_U8", "PCM_S8")
    _check_values(samples)
    return Recording(samples, rate_hz, samples.shape[1], format_name, has_8_bits)


def _frames_of(file: ForwardStream, body: bytes | memoryview, limits: _Limits) -> int:
    """How much memory to spend: the frames that the header claims, as far as it may be believed, else those counted."""
    claimed_frames = int(file.frames)
    if claimed_frames <= len(body) * _CREDIBLE_FRAMES_PER_BYTE:
        limits.check(claimed_frames, file)
        if limits.max_decoded_bytes:
            return claimed_frames
    with ForwardStream(body) as counted:
        frames, block = 0, counted.new_block()
        while frames < claimed_frames and (read_frames := counted.read_block(block)):
            frames += read_frames
            limits.check(frames, file)
    return min(frames, claimed_frames)


def _read(file: ForwardStream, frames: int) -> Samples:
    """float32 `[frames, channels]`, or fewer where the file ends before."""
    samples = np.empty((frames, file.channels), np.float32)
    filled = 0
    while filled < frames and (read_frames := file.read_block(samples[filled:])):
        filled += read_frames
    if not filled:
        raise UndecodableAudio("the file holds no frame that can be decoded")
    return samples[:filled] if 2 * filled >= frames else samples[:filled].copy()


def _check_values(samples: Samples) -> None:
    # maximum and minimum hand a NaN on, so that two passes without a temporary see every sort of bad value
    largest = max(float(samples.max()), -float(samples.min()))
    if not math.isfinite(largest) or not math.isfinite(float(samples.min())):
        raise UndecodableAudio("the recording holds samples that are not finite numbers")
    if largest > _LARGEST_SAMPLE:
        raise UndecodableAudio(f"the recording holds samples as large as {largest:g}")


def _refusal(body: bytes | memoryview, error: soundfile.SoundFileError) -> NotAudio | UndecodableAudio:
    """Which error fits a body that libsndfile does not open: by its magic."""
    start = bytes(body[:16])
    if start.startswith(_MAGICS) or is_wave(body):
        reason = str(getattr(error, "error_string", error)).strip().rstrip(".")
        if getattr(error, "code", 0) in _MISLEADING:
            reason = "nothing in it can be read"
        return UndecodableAudio(f"the file cannot be decoded: {reason}")
    if len(start) > 1 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0 and start[1] & 0x06:
        return UndecodableAudio("the file cannot be decoded: no MPEG audio that is whole")
    return NotAudio()
