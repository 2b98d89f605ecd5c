"""From the archive to Postgres, in the order of arrival; then they are marked as sent.

Killed between the two, it sends the same rows again: whoever takes them keeps one of each key.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from engine.clock import NS_PER_S, now_ns, wall_clock_s
from engine.core.retention import RetentionPolicy
from engine.crash_points import reach
from engine.stores.archive import Archive
from engine.stores.archive_keeper import ArchiveKeeper
from engine.stores.journal_record import StoredRecord
from engine.stores.spool import Counting

BATCH_ROWS = 2_000
BATCH_BYTES = 4 << 20
_PRUNE_S = 60.0  # between looks at what Postgres has that is too old

_LOG = logging.getLogger(__name__)


class JournalDatabase(Protocol):
    """Where rows are to be at last. Every method raises StoreUnavailable if it cannot be done just now."""

    def send(self, records: Sequence[StoredRecord]) -> dict[str, str]:
        """Inserts the rows whose key is not there yet; the ids of those that are refused for good, with the reason."""

    def delete_older(self, before_s: float) -> int:
        """Deletes rows answered before that moment, in seconds since 1970; how many."""


class Sender:
    """For one thread, in the process that has the lock of the journal.

    What a method raises (sqlite3.Error, OSError, StoreUnavailable) is no reason not to call it again.
    """

    def __init__(self, state_dir: Path, database: JournalDatabase, policy: RetentionPolicy, counting: Counting) -> None:
        self._keeper = ArchiveKeeper(state_dir)
        self._database = database
        self._policy = policy
        self._counting = counting
        self._prune_at_ns = 0

    def send(self) -> bool:
        """Sends a batch; True unless there was none to send."""
        with self._keeper.opened() as archive:
            return self._send(archive)

    def prune(self) -> None:
        """Has Postgres delete what is too old, once in a while."""
        before_s = self._policy.oldest_kept_s(wall_clock_s())
        if before_s is not None and now_ns() >= self._prune_at_ns:
            self._database.delete_older(before_s)
            self._prune_at_ns = now_ns() + int(_PRUNE_S * NS_PER_S)

    def close(self) -> None:
        """Idempotent; a later call opens the archive again."""
        self._keeper.close()

    def _send(self, archive: Archive) -> bool:
        records = archive.unsent(BATCH_ROWS, BATCH_BYTES)
        if not records:
            return False
        reach("send.read")
        reasons = self._database.send([record for _, record in records])
        reach("send.sent")
        numbers = {record.id.hex(): seq for seq, record in records} if reasons else {}
        refused = {numbers[id]: reason for id, reason in reasons.items()}
        archive.mark_sent(records[-1][0], refused.items())
        reach("send.marked")
        self._counting.add("journal.sent", len(records) - len(refused))
        if refused:
            self._counting.add("journal.rejected", len(refused))
            _LOG.error("journal: Postgres refuses %d rows, which stay here: %s", len(refused), [*refused.values()][0])
        return True
