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
_FARTHEST_BYTES = 1 << 62  # positions must fit the library's signed 64 bits


class BodyFile:
    """A body as the file-like object that soundfile asks for; never raises, whatever positions it is sent to."""

    def __init__(self, body: bytes | memoryview) -> None:
        self._view = memoryview(body)
        self._position = 0

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
        """Fills `buffer` as far as the body goes; returns bytes."""
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

    def read_block(self) -> Samples:
        """The next frames, float32 `[frames, channels]`; none at the end.

        Where the stream is damaged or cut off: those before that place, and none the next time.
        """
        block = np.full((BLOCK_FRAMES, self.channels), np.nan, np.float32)  # NaN marks what was not reached
        try:
            return np.asarray(self.read(out=block))
        except soundfile.SoundFileError:
            missing = np.isnan(block[:, -1])
            return block[:int(missing.argmax()) if missing.any() else len(block)]
