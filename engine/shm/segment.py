"""One segment: an anonymous memory file that every process of one deployment version maps.

No name in any file system, so nothing can be left behind, whoever is killed. The file is sealed against resizing, what
all lanes share is allocated at creation and the pages of a lane before it is handed out, with a refusal that can be
told: a store into a mapped segment never ends in SIGBUS, nor in the kernel's choice of a process to kill. When a lane
has come back its pages go back too, unless `keeps_pages`.

Whoever keeps an array or a view of the mapping keeps the mapping: `close` leaves it to them and closes the descriptor.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import MixedLayouts, OutOfMemory, ProtocolError
from engine.shm.layout import (
    HEADER_BYTES,
    LAYOUT_VERSION,
    MAGIC,
    ORDERED_WORDS,
    SLOT_FIELDS,
    Geometry,
    Header,
    InstanceWord,
    LaneWord,
)
from engine.shm.memory import available_bytes
from engine.shm.words import WORD_BYTES, bits_view, word_view

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_CANNOT = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)  # a kernel, or what stands in for one, without holes in files


@dataclass(frozen=True, slots=True)
class SlotTables:
    """The tables of slot fields, each indexed by lane * S + slot. Who may write which: `engine/README.md`."""

    word: memoryview
    arrival: memoryview
    level: memoryview
    deadline: memoryview
    cancel: memoryview
    started: memoryview
    attempt: memoryview
    isolate: memoryview
    caller: memoryview
    kind: memoryview
    payload_size: memoryview
    gain: memoryview[float]
    outcome: memoryview
    batch_size: memoryview
    taken: memoryview
    begun: memoryview
    done: memoryview
    reply_size: memoryview

    @classmethod
    def over(cls, buffer: memoryview, geometry: Geometry) -> SlotTables:
        """The tables of a mapped segment."""

        count, at = geometry.slot_count, geometry.table_at
        words = {field: word_view(buffer, at(field), count) for field in SLOT_FIELDS if field != "gain"}
        return cls(**words, gain=bits_view(buffer, at("gain"), count))

    def views(self) -> list[memoryview]:
        """All tables."""
        return [getattr(self, field) for field in SLOT_FIELDS]


class Segment:
    """A mapped segment. Made by `create` (the supervisor) or `attach` (everybody else)."""

    def __init__(self, fd: int, geometry: Geometry, *, read_only: bool = False) -> None:
        """Maps an open memory file whose header is known to be right; owns `fd` from here on."""
        self.fd = fd
        self.geometry = geometry
        access = mmap.ACCESS_READ if read_only else mmap.ACCESS_WRITE
        self._mapping = mmap.mmap(fd, geometry.total_bytes, access=access)
        self.bytes = memoryview(self._mapping)
        self.header = word_view(self.bytes, 0, HEADER_BYTES // WORD_BYTES)
        self.tables = SlotTables.over(self.bytes, geometry)
        self._rows: dict[int, memoryview] = {}
        self._closed = False

    @classmethod
    def create(cls, geometry: Geometry, *, keeps_pages: bool = False) -> Segment:
        """A new segment: all slots FREE with generation 0, no instance, no owner of a lane.

        `keeps_pages`: all lanes have their pages from the beginning and for good, see there.
        Raises OutOfMemory, with the figures, if the machine or the control group has less left than all lanes take.
        """
        _check_memory("the shared segment", geometry.total_bytes, geometry, geometry.lanes)
        with contextlib.ExitStack() as undo:
            fd = os.memfd_create("nightscan-segment", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            undo.callback(os.close, fd)
            try:
                os.ftruncate(fd, geometry.total_bytes)
                for start, size in [(0, geometry.total_bytes)] if keeps_pages else geometry.common_pages():
                    os.posix_fallocate(fd, start, size)
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
                segment = cls(fd, geometry)
            except OSError as error:
                raise OutOfMemory(f"the shared segment needs {_megabytes(geometry.total_bytes)}: {error}") from error
            undo.pop_all()
        segment._write_header(keeps_pages)
        return segment

    @classmethod
    def attach(cls, fd: int, *, read_only: bool = False) -> Segment:
        """Maps the segment behind `fd` and owns `fd` from here on, even if it raises.

        `read_only`: nothing can be stored through this mapping, by mistake either.
        Raises ProtocolError if it is no segment, or not sealed; MixedLayouts if it is one of another version.
        """
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, fd)
            segment = cls(fd, _read_geometry(fd), read_only=read_only)
            undo.pop_all()
        return segment

    def _write_header(self, keeps_pages: bool) -> None:
        geometry = self.geometry
        self.header[Header.KEEPS_PAGES] = keeps_pages
        self.header[Header.VERSION] = LAYOUT_VERSION
        self.header[Header.LANES] = geometry.lanes
        self.header[Header.SLOTS] = geometry.slots
        self.header[Header.PAYLOAD_BYTES] = geometry.payload_bytes
        self.header[Header.REPLY_BYTES] = geometry.reply_bytes
        self.header[Header.INSTANCE_ROWS] = geometry.instance_rows
        self.header[Header.TOTAL_BYTES] = geometry.total_bytes
        self.header[Header.MAGIC] = MAGIC

    @property
    def closing(self) -> bool:
        """Whether the supervisor has begun to take this segment out of service."""
        return bool(self.header[Header.CLOSING])

    def set_closing(self) -> None:
        """For the supervisor alone. There is no way back."""
        # Partner: the look at `closing` in LaneOwner.offer, under its lock and before READY. A frontend that
        # missed this store reports its slot as outstanding, and the segment waits for it.
        self.header[Header.CLOSING] = 1

    @property
    def name_counter(self) -> int:
        """The newest name given to an instance; names from 1 up to here are in use or spent."""
        return int(self.header[Header.NAME_COUNTER])

    def was_ordered(self, name: int) -> bool:
        """Whether the supervisor ordered the death of instance `name`. To be asked once that one is dead."""
        return bool(self.header[Header.ORDERED + name % ORDERED_WORDS] == name)

    @property
    def holder(self) -> int:
        """Name of the instance that holds the lease, 0 if none or a frontend does. For the search for who hangs."""
        return int(self.header[Header.HOLDER])

    @property
    def keeps_pages(self) -> bool:
        """Whether the pages of lanes stay where they are, so that they may be page-locked.

        A device reads the page that was locked. Were that page given back, the same address would get another one, and
        the device would go on reading what the previous owner of the lane had written.
        """
        return bool(self.header[Header.KEEPS_PAGES])

    def allocate_lane(self, lane: int) -> None:
        """Makes sure that `lane` has its pages. For the supervisor, before it is handed out; may be repeated.

        Raises OutOfMemory, with the figures; then it has none.
        """
        if self.keeps_pages:
            return
        missing_bytes = sum(size for _, size in self.geometry.lane_pages(lane))
        _check_memory(f"lane {lane} of a shared segment", missing_bytes, self.geometry, 1)
        with contextlib.ExitStack() as undo:
            undo.callback(self.free_lane, lane)
            for start, size in self.geometry.lane_pages(lane):
                if size:
                    try:
                        os.posix_fallocate(self.fd, start, size)
                    except OSError as error:
                        needed = _megabytes(missing_bytes)
                        raise OutOfMemory(f"lane {lane} of a shared segment needs {needed}: {error}") from error
            undo.pop_all()

    def free_lane(self, lane: int) -> None:
        """Gives the pages of `lane` back to the machine. For the supervisor, while nobody owns it; may be repeated.

        All slots of the lane must be FREE and nobody may own it: what is in the pages is lost, for everybody who maps
        them. Where the kernel cannot do that they stay, at no other cost than their memory.
        """
        if self.keeps_pages:
            return
        for start, size in self.geometry.lane_pages(lane):
            if size:
                try:
                    self._mapping.madvise(mmap.MADV_REMOVE, start, size)
                except OSError as error:
                    if error.errno not in _CANNOT:
                        raise

    @property
    def array(self) -> NDArray[np.uint8]:
        """The whole mapping, `[total_bytes]` uint8, writable; for page-locking. It keeps the mapping alive."""
        return np.frombuffer(self._mapping, dtype=np.uint8)

    def lane_row(self, lane: int) -> memoryview:
        """The words of the row of `lane`: one view for all who ask, released by `close` alone."""
        return self._row(self.geometry.lane_row_at(lane), LaneWord.WORDS)

    def instance_row(self, row: int) -> memoryview:
        """The words of row `row` of the table of instances: one view for all who ask, released by `close` alone."""
        return self._row(self.geometry.instance_row_at(row), InstanceWord.WORDS)

    def _row(self, offset: int, words: int) -> memoryview:
        if offset not in self._rows:
            self._rows[offset] = word_view(self.bytes, offset, words)
        return self._rows[offset]

    def close(self) -> None:
        """Closes the descriptor and unmaps, or leaves the mapping to the views of it that still live. Idempotent."""
        if self._closed:
            return
        self._closed = True
        for view in (*self.tables.views(), *self._rows.values(), self.header, self.bytes):
            with contextlib.suppress(BufferError):  # somebody made an array of it
                view.release()
        with contextlib.suppress(BufferError):  # somebody still holds a view: the mapping goes with the last of them
            self._mapping.close()
        os.close(self.fd)


def _check_memory(what: str, needed_bytes: int, geometry: Geometry, lanes: int) -> None:
    available = available_bytes()
    if needed_bytes > available:
        raise OutOfMemory(
            f"{what} needs {_megabytes(needed_bytes)} ({lanes} lanes of {geometry.slots} slots of "
            f"{_megabytes(geometry.payload_bytes)}), {_megabytes(available)} are available: lower lane_slots or workers"
        )


def _read_geometry(fd: int) -> Geometry:
    words = memoryview(os.pread(fd, WORD_BYTES * 8, 0).ljust(WORD_BYTES * 8, b"\0")).cast("Q")
    if words[Header.MAGIC] != MAGIC:
        raise ProtocolError("not a segment of this engine")
    if words[Header.VERSION] != LAYOUT_VERSION:
        raise MixedLayouts(
            f"segment has layout {words[Header.VERSION]:#x}, this process knows {LAYOUT_VERSION:#x}: "
            "two releases are mixed"
        )
    size = os.fstat(fd).st_size
    if words[Header.TOTAL_BYTES] != size:
        raise ProtocolError(f"segment of {size} bytes does not fit its header ({words[Header.TOTAL_BYTES]} bytes)")
    geometry = Geometry(
        lanes=words[Header.LANES],
        slots=words[Header.SLOTS],
        payload_bytes=words[Header.PAYLOAD_BYTES],
        reply_bytes=words[Header.REPLY_BYTES],
        instance_rows=words[Header.INSTANCE_ROWS],
    )
    if geometry.total_bytes != size:
        raise ProtocolError(f"segment of {size} bytes does not fit its header ({geometry.total_bytes} bytes)")
    if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
        raise ProtocolError("segment is not sealed against resizing")
    return geometry


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
