"""Sounds that windows are made of, one row each in a file, so that hundreds of them take no memory.

Read with `pread` and never mapped: a mapped file that another process cuts short kills its reader. Rows are 16-bit
integers of full scale with a gain beside them, so that a quiet sound keeps its detail.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from engine.errors import BrokenError

Floats: TypeAlias = npt.NDArray[np.float32]

FULL_SCALE = 32_767
_LEAST_PEAK = 2.0**-31  # one step of 32-bit PCM; what lies below is arithmetic, not sound


@dataclass(frozen=True, slots=True)
class BaseSounds:
    """The sounds of one file: `len(gains)` rows of int16 `[frames]`."""

    path: str
    frames: int
    gains: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.gains)

    def read(self, index: int) -> Floats:
        """Sound `index`, float32 `[frames]`. Raises BrokenError where the file has lost it, OSError as reading does."""
        row_bytes = 2 * self.frames
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            content = os.pread(fd, row_bytes, index * row_bytes)
        finally:
            os.close(fd)
        if len(content) != row_bytes:
            raise BrokenError(f"{self.path} has lost sound {index}: {len(content)} of {row_bytes} bytes are there")
        return np.frombuffer(content, np.int16) * np.float32(self.gains[index] / FULL_SCALE)


class SoundWriter:
    """Writes sounds to a new file, row by row, and leaves out silence and what some writer has written before.

    `known`: digests of sounds, which those written join. Copies of a recording must not be both calibrated and compared
    with.
    """

    def __init__(self, path: Path, *, frames: int, known: set[bytes]) -> None:
        """Raises OSError as opening does."""
        self._path, self._frames, self._known = path, frames, known
        self._gains: list[float] = []
        self._file = path.open("wb")

    def __len__(self) -> int:
        return len(self._gains)

    def add(self, sound: Floats) -> None:
        """Writes float32 `[frames]`: the first frames of a longer one, zeros after the end of a shorter one.

        Raises OSError as writing does.
        """
        peak = float(np.abs(sound).max(initial=0.0))
        if not np.isfinite(peak) or peak < _LEAST_PEAK or sound.min() == sound.max():
            return
        row = np.zeros(self._frames, np.int16)
        row[:len(sound)] = np.round(sound[:self._frames] * (FULL_SCALE / peak))
        digest = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
        if digest not in self._known:
            self._known.add(digest)
            self._file.write(row.tobytes())
            self._gains.append(peak)

    def __enter__(self) -> SoundWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def written(self) -> BaseSounds:
        """What was written, all of it in the file. Raises OSError as writing does."""
        self._file.flush()
        return BaseSounds(str(self._path), self._frames, tuple(self._gains))
