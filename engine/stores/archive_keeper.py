"""Keeps an archive open for one thread, and begins a new one where what is there is damaged."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.clock import wall_clock_s
from engine.stores.archive import Archive
from engine.stores.archive_schema import database_path, is_damage, set_aside

_LOG = logging.getLogger(__name__)
_setting_aside = threading.Lock()  # of two threads that meet the same damage the second must not set the new one aside


class ArchiveKeeper:
    """For whoever has the lock of the journal. Sole mutators of what is open: `opened` and `close`."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._archive: Archive | None = None

    @contextmanager
    def opened(self) -> Iterator[Archive]:
        """The archive, which is another object than the last time if it was opened anew.

        Raises sqlite3.Error (of the block, too, which may then be tried again; a damaged archive has been set aside by
        then), OSError, and StoreUnavailable where a later version made it.
        """
        try:
            yield self._current()
        except sqlite3.Error as error:
            if self._archive is not None and is_damage(error):
                self._set_aside(self._archive, error)
            self.close()
            raise

    def close(self) -> None:
        """Idempotent; the next use opens it again."""
        if self._archive is not None:
            self._archive.close()
            self._archive = None

    def _current(self) -> Archive:
        if self._archive is not None and not self._archive.is_current:
            self.close()
        if self._archive is None:
            with _setting_aside:
                try:
                    self._archive = Archive.open(self._state_dir)
                except sqlite3.Error as error:
                    if is_damage(error):
                        self._rename(error)
                    raise
        return self._archive

    def _set_aside(self, archive: Archive, error: sqlite3.Error) -> None:
        with _setting_aside:
            if archive.is_current:
                self._rename(error)

    def _rename(self, error: sqlite3.Error) -> None:
        kept = set_aside(database_path(self._state_dir), wall_clock_s())
        _LOG.error("journal: %s; set aside as %s, and a new one is begun", error, kept)
