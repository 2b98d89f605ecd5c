"""The machine segment: what processes share apart from any version of a deployment.

One anonymous memory file, made once by the supervisor and held by every process (`control/process_holds.py`), so that
it outlives all of them but the last. In it: a row of counters for each process, one for each seat of a pool, the last
requests of each process, and the area of the L1 cache; the pages of the last two come when they are used. Sealed
against resizing; header and rows have their pages from the beginning.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engine.errors import OutOfMemory, ProtocolError
from engine.observe.answered import AnsweredRequest
from engine.observe.metrics import GREATEST_GAUGES, PROCESS_COUNTERS, PROCESS_GAUGES
from engine.observe.recent_requests import LISTED
from engine.shm.byte_lock import ByteLocks
from engine.shm.forked import not_for_children
from engine.shm.l1 import L1, geometry_of, prepare_cache, statistics_of
from engine.shm.layout import PAGE_BYTES
from engine.shm.machine_layout import (
    MACHINE_MAGIC,
    MACHINE_VERSION,
    PLACE_BYTES,
    REQUEST_PLACES,
    REQUEST_RING_BYTES,
    SUPERVISOR_ROW,
    MachineGeometry,
    MachineHeader,
    ProcessWord,
    SeatWord,
)
from engine.shm.memory import available_bytes
from engine.shm.request_choice import chosen
from engine.shm.request_ring import record_at
from engine.shm.words import WORD_BYTES, word_view

_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class MachineSegment:
    """A mapped machine segment. Made by `create` (the supervisor) or `attach` (everybody else)."""

    def __init__(self, fd: int, geometry: MachineGeometry) -> None:
        """Maps an open memory file whose header is known to be right; owns `fd` from here on."""
        self.fd = fd
        self.geometry = geometry
        status = os.fstat(fd)
        self.identity = (status.st_dev, status.st_ino)  # the same for all who map this piece of memory
        self._mapping = mmap.mmap(fd, geometry.total_bytes)
        self.bytes = memoryview(self._mapping)
        self.l1_area = self.bytes[geometry.l1_at :]  # `[l1_bytes]`, writable; its pages come as `L1` asks for them
        self._probe = ByteLocks(fd)  # takes none: what it finds locked is somebody's
        self._closed = False
        not_for_children(self)

    @classmethod
    def create(cls, geometry: MachineGeometry) -> MachineSegment:
        """A new one, in which nobody has counted anything.

        Raises OutOfMemory, with the figures, if header and rows do not fit into what the machine or the control group
        has left.
        """
        _check_memory("the machine segment", geometry.rings_at)
        with contextlib.ExitStack() as undo:
            try:
                fd = os.memfd_create("nightscan-machine", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
                undo.callback(os.close, fd)
                os.ftruncate(fd, geometry.total_bytes)
                os.posix_fallocate(fd, 0, geometry.rings_at)
                fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
                machine = cls(fd, geometry)
            except OSError as error:
                raise OutOfMemory(f"the machine segment needs {geometry.rings_at} bytes: {error}") from error
            undo.pop_all()
        if geometry.l1_bytes:
            prepare_cache(fd, geometry.l1_at, machine.l1_area, geometry.l1_writers)
        machine._write_header()
        return machine

    @classmethod
    def attach(cls, fd: int) -> MachineSegment:
        """Maps the segment behind `fd` and owns `fd` from here on, even if it raises.

        Raises ProtocolError if it is no machine segment, one of another version, or not sealed; OSError.
        """
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, fd)
            machine = cls(fd, _read_geometry(fd))
            undo.pop_all()
        return machine

    def again(self) -> MachineSegment:
        """The same segment, mapped for somebody who closes it by itself. Raises OSError."""
        return self.attach(os.dup(self.fd))

    def _write_header(self) -> None:
        header = word_view(self.bytes, 0, PAGE_BYTES // WORD_BYTES)
        header[MachineHeader.VERSION] = MACHINE_VERSION
        header[MachineHeader.ROWS] = self.geometry.rows
        header[MachineHeader.L1_BYTES] = self.geometry.l1_bytes
        header[MachineHeader.TOTAL_BYTES] = self.geometry.total_bytes
        header[MachineHeader.MAGIC] = MACHINE_MAGIC

    def row(self, row: int) -> memoryview:
        """The words of row `row`; it keeps the mapping alive. To write them is for whoever has the lock of the row."""
        return word_view(self.bytes, self.geometry.row_at(row), ProcessWord.WORDS)

    def ring(self, row: int) -> memoryview:
        """The last requests of row `row`, `[REQUEST_RING_BYTES]`; else as for `row`.

        Its pages are there once the row says that something was written; `allocate_ring` is for the owner.
        """
        start = self.geometry.ring_at(row)
        return self.bytes[start : start + REQUEST_RING_BYTES]

    def allocate_ring(self, row: int) -> None:
        """Makes sure of the pages of a ring. Raises OSError where there is no memory for them."""
        os.posix_fallocate(self.fd, self.geometry.ring_at(row), REQUEST_RING_BYTES)

    def seat_row(self, row: int) -> memoryview:
        """The same of the row of a seat."""
        return word_view(self.bytes, self.geometry.seat_at(row), SeatWord.WORDS)

    def is_live(self, row: int) -> bool:
        """Whether a living process has row `row`."""
        return self.has_owner(self.geometry.row_at(row))

    def has_owner(self, row_at: int) -> bool:
        """The same of the row, of whatever kind, that begins at this byte."""
        return self._probe.taken_elsewhere(row_at)

    def process_totals(self) -> dict[str, int]:
        """Every counter of PROCESS_COUNTERS over all who ever counted, every gauge over the processes that live.

        Counters never fall, but for a machine segment that took this one's place. With
        "supervisor.lives", 0 or 1, and where there is an L1 with its "l1.entries" and "l1.bytes".
        """
        words = self._words()
        counters = words[:, ProcessWord.COUNTERS : ProcessWord.COUNTERS + len(PROCESS_COUNTERS)].sum(axis=0)
        live = words[[self.is_live(row) for row in range(self.geometry.rows)]]
        totals = dict(zip(PROCESS_COUNTERS, counters.tolist(), strict=True))
        for word, name in enumerate(PROCESS_GAUGES, ProcessWord.GAUGES):
            values = live[:, word]
            totals[name] = int(values.max(initial=0) if name in GREATEST_GAUGES else values.sum())
        totals["supervisor.lives"] = int(self.is_live(SUPERVISOR_ROW))
        cache = statistics_of(self.l1_area)
        if cache is not None:
            totals |= {"l1.entries": cache.entries, "l1.bytes": cache.bytes}
        elif self.geometry.l1_bytes:
            totals["l1.without_memory"] = 1
        return totals

    def answered(self, limit: int = LISTED) -> list[AnsweredRequest]:
        """The newest, the slowest and the failed, `limit` of each, of the requests that all processes, the dead too,
        remember to have answered; in no order."""
        # Nothing is read of a ring that nobody has written into: that would allocate its pages.
        rows = np.flatnonzero(self._words()[:, ProcessWord.REQUESTS]).tolist()
        count = self.geometry.rows * REQUEST_RING_BYTES // WORD_BYTES
        rings = np.frombuffer(self.bytes, np.uint64, count, self.geometry.rings_at)
        places = rings.reshape(self.geometry.rows, REQUEST_PLACES, PLACE_BYTES // WORD_BYTES)
        found = (record_at(self.ring(row), place) for row, place in chosen(places, rows, limit))
        return [each for each in found if each is not None]

    def close(self) -> None:
        """Closes the descriptor and unmaps, or leaves the mapping to the views of it that still live. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._probe.close()
        for view in (self.l1_area, self.bytes):
            with contextlib.suppress(BufferError):  # somebody made an array of it
                view.release()
        with contextlib.suppress(BufferError):  # somebody still holds a view: the mapping goes with the last of them
            self._mapping.close()
        os.close(self.fd)

    def let_go_in_child(self) -> None:
        """In a forked child: rows and arenas are the parent's to write, whoever has views of them here."""
        self.close()

    def _words(self) -> NDArray[np.uint64]:
        """A copy of all rows, `[rows, ProcessWord.WORDS]`, each word whole."""
        count = self.geometry.rows * ProcessWord.WORDS
        words = np.frombuffer(self.bytes, np.uint64, count, self.geometry.rows_at)
        return words.reshape(self.geometry.rows, ProcessWord.WORDS).copy()


def open_l1(machine: MachineSegment, count: Callable[[str, int], object]) -> L1 | None:
    """The cache in this segment, for one process that closes it; None if there is none. Raises OSError."""
    if geometry_of(machine.l1_area) is None:
        return None
    return L1(machine.fd, machine.geometry.l1_at, machine.l1_area, count)


def _check_memory(what: str, needed_bytes: int) -> None:
    available = available_bytes()
    if needed_bytes > available:
        raise OutOfMemory(f"{what} needs {needed_bytes} bytes, {available} are available")


def _read_geometry(fd: int) -> MachineGeometry:
    words = memoryview(os.pread(fd, WORD_BYTES * 8, 0).ljust(WORD_BYTES * 8, b"\0")).cast("Q")
    if words[MachineHeader.MAGIC] != MACHINE_MAGIC:
        raise ProtocolError("not a machine segment of this engine")
    if words[MachineHeader.VERSION] != MACHINE_VERSION:
        version = words[MachineHeader.VERSION]
        raise ProtocolError(f"machine segment has layout {version:#x}, this process knows {MACHINE_VERSION:#x}")
    size, rows, l1_bytes = os.fstat(fd).st_size, words[MachineHeader.ROWS], words[MachineHeader.L1_BYTES]
    if rows < 1 or l1_bytes % PAGE_BYTES or MachineGeometry(rows, l1_bytes).total_bytes != size:
        raise ProtocolError(f"machine segment of {size} bytes does not fit its header ({rows} rows, {l1_bytes} bytes)")
    if fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
        raise ProtocolError("machine segment is not sealed against resizing")
    return MachineGeometry(rows, l1_bytes)
