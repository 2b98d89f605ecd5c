"""libsndfile reading a body that is in memory and that nobody vouches for.

The library is C and answers broken files with odd requests; the two classes here keep these from becoming noise on
stderr or lost sound. Nothing is copied on the way in, and nothing but the body can be reached.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import soundfile

Samples = np.ndarray[Any, np.dtype[Any]]

BLOCK_FRAMES = 65_536
# The MPEG decoder looks for its next frame byte by byte, each a call back to here: 100 MB of frames with rubbish
# between them would take minutes. An undamaged file needs no such read.
MAX_SINGLE_READS = 1_000_000
_FARTHEST_BYTES = 1 << 62  # positions must fit the library's signed 64 bits


class BodyFile:
    """A body as the file-like object that soundfile asks for; never raises, whatever positions it is sent to."""

    def __init__(self, body: bytes | memoryview) -> None:
        self._view = memoryview(body)
        self._position = 0
        self._single_reads = 0

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Like lseek; asked for a position that cannot be, it stays where it is, which the library notices."""
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._view)}
        base = bases.get(whence, -_FARTHEST_BYTES)
        if 0 <= base + offset <= _FARTHEST_BYTES:
            self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fills `buffer` as far as the body goes; returns bytes. After `MAX_SINGLE_READS` of one byte it has ended."""
        if len(buffer) == 1:
            self._single_reads += 1
            if self._single_reads > MAX_SINGLE_READS:
                return 0
        piece = self._view[self._position:self._position + len(buffer)]
        buffer[:len(piece)] = piece
        self._position += len(piece)
        return len(piece)


class ForwardStream(soundfile.SoundFile):  # type: ignore[misc]  # soundfile carries no types
    """A file that is only read forward.

    soundfile seeks to where it already is after every read, which fails, and loses what was read, in a FLAC file
    whose header claims more than it holds.
    """

    def __init__(self, body: bytes | memoryview) -> None:
        super().__init__(BodyFile(body))

    def seekable(self) -> bool:
        return False

    def new_block(self) -> Samples:
        """Room for one block, float32 `[frames, channels]`."""
        return np.empty((BLOCK_FRAMES, self.channels), np.float32)

    def read_block(self, room: Samples) -> int:
        """Fills `room`, float32 `[frames, channels]`, or one block of it, with the next frames; returns how many.

        0 at the end. Where the stream is damaged or cut off: those before that place, and none the next time.
        """
        block = room[:BLOCK_FRAMES]
        block.fill(np.nan)  # marks what was not reached
        try:
            return len(self.read(out=block))
        except soundfile.SoundFileError:
            missing = np.isnan(block[:, -1])
            return int(missing.argmax()) if missing.any() else len(block)
