"""A document in a memory file that outlives whoever writes it, with whoever else holds the file.

Replaced as a whole: the new text is written beside the one that counts, then one word of 8 bytes says which counts. So
a writer that is killed leaves the old text or the new one. Read and written by system calls: where memory is short that
is an error here, and no signal.
"""

from __future__ import annotations

import fcntl
import os
import struct

from engine.crash_points import reach
from engine.errors import ProtocolError

_LONGEST_BYTES = 64 << 20
_PLACES = (1 << 12, 1 << 30)  # of the two texts; nothing is allocated between them
_WORD = struct.Struct("<Q")  # bytes of the text that counts, times two, plus which of the two it is


class MemoryDocument:
    """Does not own its descriptor. One process at a time may write."""

    def __init__(self, fd: int) -> None:
        """Raises ProtocolError for what is no memory file."""
        try:
            fcntl.fcntl(fd, fcntl.F_GET_SEALS)
        except OSError as error:
            raise ProtocolError("a descriptor is not a memory file") from error
        self._fd = fd

    @staticmethod
    def new_file(name: str) -> int:
        """A descriptor, owned by the caller, of an empty document. Raises OSError."""
        return os.memfd_create(f"nightscan-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)

    def read(self) -> bytes:
        """What was last written; empty if nothing was. Raises ProtocolError for what nobody here has written."""
        which, size = self._word()
        text = _read(self._fd, _PLACES[which], size)
        if len(text) != size:
            raise ProtocolError(f"a document of {size} bytes ends after {len(text)}")
        return text

    def write(self, text: bytes) -> None:
        """Replaces what stands there. Raises OSError, and then that still does."""
        which = 1 - self._word()[0]
        rest, at = memoryview(text), _PLACES[which]
        while len(rest):
            written = os.pwrite(self._fd, rest, at)
            rest, at = rest[written:], at + written
        reach("document.written")
        os.pwrite(self._fd, _WORD.pack(2 * len(text) + which), 0)

    def _word(self) -> tuple[int, int]:
        raw = _read(self._fd, 0, _WORD.size)
        size, which = divmod(_WORD.unpack(raw)[0], 2) if len(raw) == _WORD.size else (0, 0)
        if size > _LONGEST_BYTES:
            raise ProtocolError(f"a document of {size} bytes is longer than {_LONGEST_BYTES}")
        return which, size


def _read(fd: int, at: int, size: int) -> bytes:
    """Up to `size` bytes from `at`: less where the file ends."""
    parts: list[bytes] = []
    while size and (part := os.pread(fd, size, at)):
        parts.append(part)
        size, at = size - len(part), at + len(part)
    return b"".join(parts)
