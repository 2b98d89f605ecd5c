"""From the spools of all processes into the archive, and what is too old or too much out of it.

Killed anywhere, it goes on where the archive says: a spool's records and how far it was read change in one transaction,
and a spool is removed only when all of it is there and its owner is done with it.
"""

from __future__ import annotations

import logging
from pathlib import Path

from engine.clock import wall_clock_s
from engine.core.retention import RetentionPolicy
from engine.crash_points import reach
from engine.stores.archive import Archive, Backlog, Deleted
from engine.stores.archive_keeper import ArchiveKeeper
from engine.stores.journal_record import StoredRecord
from engine.stores.spool import Counting, spool_dir
from engine.stores.spool_reader import PIECE_BYTES, Piece, SpoolFile, SpoolReader

_RECORD_BYTES = 400  # of an ordinary one

_LOG = logging.getLogger(__name__)


class Mover:
    """For one thread, in the process that has the lock of the journal.

    What a method raises (sqlite3.Error, OSError, StoreUnavailable) is no reason not to call it again.
    """

    def __init__(self, state_dir: Path, policy: RetentionPolicy, counting: Counting, *, is_sent: bool) -> None:
        """`is_sent`: Postgres is to have the rows, too."""
        self._policy = policy
        self._counting = counting
        self._is_sent = is_sent
        self._spools = SpoolReader(spool_dir(state_dir))
        self._keeper = ArchiveKeeper(state_dir)
        self._read_from: Archive | None = None  # whose the positions are
        self._positions: dict[str, int] = {}

    def move(self) -> bool:
        """Stores what the spools hold, up to a piece of them; True if there may be more."""
        with self._keeper.opened() as archive:
            return self._move(archive)

    def prune(self) -> bool:
        """Deletes a bounded number of rows that are too old, or too many; True if there may be more."""
        with self._keeper.opened() as archive:
            deleted = self._prune(archive)
            if deleted.rows:
                archive.give_back()
        if deleted.unsent and self._is_sent:
            self._counting.add("journal.lost", deleted.unsent)
            _LOG.warning("journal: %d rows had to go before Postgres had them", deleted.unsent)
        return deleted.rows > 0

    def waiting(self) -> Backlog:
        """What the spools hold and the archive does not: by its bytes, so that the number is about right."""
        first, total_bytes = None, 0
        for name, size in self._spools.files():
            position = self._positions.get(name, 0)
            if size > position:
                first = first or (name, position)
                total_bytes += size - position
        if first is None:
            return Backlog(0, 0.0)
        return Backlog(-(-total_bytes // _RECORD_BYTES), self._spools.oldest_s(*first))

    def unsent(self) -> Backlog:
        """What the archive holds and Postgres does not."""
        with self._keeper.opened() as archive:
            return archive.backlog()

    def close(self) -> None:
        """Idempotent; a later call opens the archive again."""
        self._keeper.close()

    def _prune(self, archive: Archive) -> Deleted:
        before_s = self._policy.oldest_kept_s(wall_clock_s())
        deleted = archive.delete_older(before_s) if before_s is not None else Deleted(0, 0)
        if not deleted.rows and self._policy.is_over(archive.used_bytes()):
            deleted = archive.delete_oldest(sent=self._is_sent)
            if not deleted.rows:
                deleted = archive.delete_oldest(sent=False)
        return deleted

    # --- one round --------------------------------------------------------------------------------------------------

    def _move(self, archive: Archive) -> bool:
        if archive is not self._read_from:
            self._positions, self._read_from = archive.positions(), archive
        files = self._spools.files()
        records: list[StoredRecord] = []
        read: dict[str, tuple[int, int]] = {}
        damaged, left_bytes = 0, PIECE_BYTES
        for file in files:
            position = self._positions.get(file.name, 0)
            if file.size > position and left_bytes > 0:
                found, end, torn = self._read(file, position)
                records += found
                damaged += torn
                left_bytes -= end - position
                if end > position:
                    read[file.name] = position, end
        if read:
            self._store(archive, records, read, damaged)
        self._remove_complete(archive, files)
        return bool(read) and any(self._positions.get(name, 0) < size for name, size in files)

    def _store(
        self, archive: Archive, records: list[StoredRecord], read: dict[str, tuple[int, int]], damaged: int
    ) -> None:
        reach("move.read")
        self._read_from = None  # until the archive has the new positions, too
        archive.store(records, read)
        reach("move.stored")
        self._positions.update((name, end) for name, (_, end) in read.items())
        self._read_from = archive
        self._counting.add("journal.stored", len(records))
        if damaged:
            self._counting.add("journal.rejected", damaged)
            _LOG.error("journal: %d places of the spools are damaged, and passed over", damaged)

    def _read(self, file: SpoolFile, position: int) -> Piece:
        """The next records. The end of a dead owner's file that is no record counts as read, and as damaged."""
        piece = self._spools.read(file.name, position)
        if piece.end == position:
            with self._spools.complete(file.name) as size:
                if size == file.size:  # nobody will write the rest of it
                    return Piece([], size, piece.damaged + 1)
        return piece

    def _remove_complete(self, archive: Archive, files: list[SpoolFile]) -> None:
        gone = []
        for name, seen in files:
            if (read := self._positions.get(name, 0)) == seen:
                with self._spools.complete(name) as size:
                    if size == read and archive.is_current:
                        self._spools.remove(name)
                        gone.append(name)
        # Those that an earlier mover removed just before it died, too.
        there = {file.name for file in files}
        gone += [name for name in self._positions if name not in there]
        if gone:
            reach("move.removed")
            archive.forget(gone)
            for name in gone:
                self._positions.pop(name, None)
