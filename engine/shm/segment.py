"""One segment: an anonymous memory file that every process of one deployment version maps.

No name in any file system, so nothing can be left behind, whoever is killed. All its pages are allocated at creation
and the file is sealed against resizing: a store into a mapped segment never ends in SIGBUS.

Whoever keeps an array or a view of the mapping keeps the mapping: `close` leaves it to them and closes the descriptor.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import OutOfMemory, ProtocolError
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

    def __init__(self, fd: int, geometry: Geometry) -> None:
        """Maps an open memory file whose header is known to be right; owns `fd` from here on."""
        self.fd = fd
        self.geometry = geometry
        self._mapping = mmap.mmap(fd, geometry.total_bytes)
        self.bytes = memoryview(self._mapping)
        self.header = word_view(self.bytes, 0, HEADER_BYTES // WORD_BYTES)
        self.tables = SlotTables.over(self.bytes, geometry)
        self._rows: dict[int, memoryview] = {}
        self._closed = False

    @classmethod
    def create(cls, geometry: Geometry) -> Segment:
        """A new segment: all slots FREE with generation 0, no instance, no owner of a lane.

        Raises OutOfMemory, with the figures, if the machine or the control group has less left than it takes.
        """
        _check_memory(geometry)
        fd = os.memfd_create("nightscan-segment", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.posix_fallocate(fd, 0, geometry.total_bytes)
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
            segment = cls(fd, geometry)
        except OSError as error:
            os.close(fd)
            raise OutOfMemory(f"the shared segment needs {_megabytes(geometry.total_bytes)}: {error}") from error
        segment._write_header()
        return segment

    @classmethod
    def attach(cls, fd: int) -> Segment:
        """Maps the segment behind `fd` and owns `fd` from here on, even if it raises.

        Raises ProtocolError if it is no segment, one of another version, or not sealed.
        """
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, fd)
            segment = cls(fd, _read_geometry(fd))
            undo.pop_all()
        return segment

    def _write_header(self) -> None:
        geometry = self.geometry
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
        # Partner: the look at `closing` in LaneOwner.try_submit, under its lock and before READY. A frontend that
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


def _check_memory(geometry: Geometry) -> None:
    available = available_bytes()
    if geometry.total_bytes > available:
        raise OutOfMemory(
            f"the shared segment needs {_megabytes(geometry.total_bytes)} ({geometry.lanes} lanes of {geometry.slots} "
            f"slots of {_megabytes(geometry.payload_bytes)}), {_megabytes(available)} are available: "
            f"lower lane_slots or workers"
        )


def _read_geometry(fd: int) -> Geometry:
    words = memoryview(os.pread(fd, WORD_BYTES * 8, 0).ljust(WORD_BYTES * 8, b"\0")).cast("Q")
    if words[Header.MAGIC] != MAGIC:
        raise ProtocolError("not a segment of this engine")
    if words[Header.VERSION] != LAYOUT_VERSION:
        raise ProtocolError(f"segment has layout {words[Header.VERSION]:#x}, this process knows {LAYOUT_VERSION:#x}")
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
