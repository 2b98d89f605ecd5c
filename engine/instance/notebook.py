"""Writes down what an instance learns of batch sizes, seldom, and without keeping its loop: a disk may hang."""

from __future__ import annotations

import logging
import threading

from engine.core.batch_size import BatchRecord, BatchSize
from engine.tuning.batch_notes import BatchNotes

LAST_WRITE_S = 1.0  # how long the end of an instance waits for the disk
READ_WITHIN_S = 5.0  # and how long its start

_LOG = logging.getLogger(__name__)


class Notebook:
    """Of one instance; for the thread of its loop. Each write is a thread of its own, one at a time."""

    def __init__(self, notes: BatchNotes | None) -> None:
        """`notes` None: nothing is kept."""
        self._notes = notes
        self._read = BatchRecord() if notes is None else _read_in_time(notes)
        self._written = self._read.ceiling
        self._differs = False  # from what was read, in its ceiling: it is ours to write
        self._writer: threading.Thread | None = None

    @property
    def record(self) -> BatchRecord:
        """What earlier instances have learnt."""
        return self._read

    def note(self, size: BatchSize) -> None:
        """Writes a ceiling that has changed."""
        if size.ceiling.record != self._written:
            self.write(size)

    def write(self, size: BatchSize) -> None:
        """Writes everything, unless an earlier write has not ended yet: then with the next one."""
        if self._notes is None or (self._writer is not None and self._writer.is_alive()):
            return
        record = size.record
        self._differs = self._differs or record.ceiling != self._read.ceiling
        self._written = record.ceiling
        self._writer = threading.Thread(
            target=_write, args=(self._notes, record, self._differs), name="batch notes", daemon=True
        )
        try:
            self._writer.start()
        except RuntimeError as error:  # no more threads here: written with the next change
            self._writer, self._written = None, self._read.ceiling
            _LOG.warning("what was learnt of batch sizes is not kept: %s", error)

    def close(self, size: BatchSize) -> None:
        """Writes for the last time, and waits for it, but not for ever."""
        if self._writer is not None:
            self._writer.join(LAST_WRITE_S)
        self.write(size)
        if self._writer is not None:
            self._writer.join(LAST_WRITE_S)


def _read_in_time(notes: BatchNotes) -> BatchRecord:
    """What is there; nothing, where the disk does not say so in time."""
    found: list[BatchRecord] = []
    reader = threading.Thread(target=lambda: found.append(notes.read()), name="batch notes", daemon=True)
    reader.start()
    reader.join(READ_WITHIN_S)
    return found[0] if found else BatchRecord()


def _write(notes: BatchNotes, record: BatchRecord, with_ceiling: bool) -> None:
    try:
        notes.write(record, with_ceiling=with_ceiling)
    except OSError as error:  # a full or missing disk: the next process learns it again
        _LOG.warning("what was learnt of batch sizes is not kept: %s", error)
