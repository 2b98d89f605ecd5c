"""Everything that one process has of stores, opened and closed together, with the row that it counts in."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from engine.config import Settings
from engine.errors import EngineClosed
from engine.observe.seats import SeatFigures
from engine.shm.forked import not_for_children
from engine.shm.machine import MachineSegment
from engine.shm.process_row import ProcessRow
from engine.shm.seat_figures import seat_figures
from engine.stores.http_pool import HttpPool
from engine.stores.redis_open import RedisStore, open_redis
from engine.stores.spool import JournalWriter
from engine.stores.two_level import TwoLevelCache

_log = logging.getLogger(__name__)


class ProcessStores:
    """Made after the fork. There without an engine too: what the original API answers is kept in the journal.

    What is None is not configured. In a forked child everything is closed, and nothing of the parent's touched.
    """

    def __init__(self, settings: Settings) -> None:
        """Use `open`."""
        self.settings = settings
        # What the original API may be asked by while nobody lends: a fair part of all, as if every worker were there.
        self._alone = {"http": max(1, settings.http_max_connections // settings.workers)}
        self.row = ProcessRow.private(self._alone)
        self.cache: TwoLevelCache | None = None
        self.journal: JournalWriter | None = None
        self.redis: RedisStore | None = None
        self.http: HttpPool | None = None  # changed by `original_api` alone
        self._originals: dict[str, HttpPool] = {}  # by their addresses
        self._machine: MachineSegment | None = None  # a mapping of its own
        self._meetings: list[Callable[[MachineSegment], object]] = []  # of parts that have something in the segment
        self._endings = ExitStack()  # what is opened last is closed first
        self._lock = threading.Lock()  # around meeting and closing
        self._closed = False
        not_for_children(self)

    @classmethod
    def open(cls, settings: Settings) -> ProcessStores:
        """Opens what is configured; never waits for a server, nor fails for one that is away.

        Raises ConfigError for what is configured wrong, and then nothing stays open.
        """
        stores = cls(settings)
        with ExitStack() as undo:
            undo.callback(stores.close)
            stores._open_parts(settings)
            undo.pop_all()
        return stores

    def _open_parts(self, settings: Settings) -> None:
        """Each part: make it, open it, `self._endings.callback(part.close)`, and `self._meetings.append(part.meet)` if
        it has something in the machine segment.
        """
        self._endings.callback(self.row.close)  # the last to go: the others count while they close
        if settings.journal == "on":
            most_bytes = settings.journal_max_mb * 1024 * 1024
            self.journal = JournalWriter(Path(settings.state_dir), self.row, max_bytes=most_bytes)
            self._endings.callback(self.journal.close)
        self.redis = open_redis(settings, self.row)
        if self.redis is not None:
            self._endings.callback(self.redis.close)
        if settings.cache_l1_mb or self.redis is not None:
            l2 = None if self.redis is None else self.redis.l2
            self.cache = TwoLevelCache(self.row, ttl_s=settings.cache_ttl_s, l2=l2)
            self._endings.callback(self.cache.close)
            self._meetings.append(self.cache.meet)
        if settings.original_api_url and settings.fallback_to_original:
            self.original_api(settings)

    def original_api(self, settings: Settings) -> HttpPool:
        """The pool for the original API of `settings`, which may be those of one application among several.

        Only one address has connections that are lent; each further one has some of its own. Raises ConfigError for
        an address that is none, EngineClosed.
        """
        with self._lock:
            if self._closed:
                raise EngineClosed("the stores of this process are closed")
            pool = self._originals.get(settings.original_api_url)
            if pool is None:
                row = self.row if self.http is None else ProcessRow.private(self._alone)
                pool = HttpPool(settings.original_api_url, row, connect_timeout_s=settings.http_connection_timeout)
                self._endings.callback(pool.close)
                self._originals[settings.original_api_url] = pool
                self.http = self.http or pool
                pool.open()
            return pool

    def meet(self, machine: MachineSegment) -> None:
        """There is a machine segment: counts in it from now on, and uses what it has. Nothing if it is met already.

        Never raises; without a row there, or without memory, everything goes on in private.
        """
        with self._lock:
            if self._closed or (self._machine is not None and self._machine.identity == machine.identity):
                return
            try:
                own = machine.again()
            except OSError as error:
                _log.warning("counters and cache of this process are its own for now: %s", error)
                return
            before, self._machine = self._machine, own
            self._move(own)
            for meeting in self._meetings:
                meeting(own)
            if before is not None:
                before.close()

    def _move(self, machine: MachineSegment) -> None:
        try:
            moved = self.row.move_to(machine)
        except OSError as error:
            _log.warning("what this process counts is not seen by others: %s", error)
            return
        if not moved:
            rows = machine.geometry.rows
            _log.warning(
                "what this process counts is not seen by others, and no connections are lent to it: all %d rows of the "
                "machine segment are taken; start the engine with a larger `workers`", rows,
            )  # fmt: skip

    def totals(self) -> dict[str, int]:
        """What all processes of the machine have counted; this one alone, while there is no machine segment."""
        with self._lock:  # the segment is not closed meanwhile
            if self._machine is not None and not self._closed:
                return self._machine.process_totals()
        return self.row.figures()

    def machine_figures(self) -> tuple[dict[str, int], list[SeatFigures]] | None:
        """What the whole machine has counted, all processes and all seats; None before there is a machine segment."""
        with self._lock:
            if self._machine is None or self._closed:
                return None
            return self._machine.process_totals(), seat_figures(self._machine)

    def close(self) -> None:
        """Closes all parts, within the bounds of each. Idempotent; nothing in a forked child."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._endings.close()
        if self._machine is not None:
            self._machine.close()

    def let_go_in_child(self) -> None:
        """Each part lets go by itself; whoever held the lock does not exist here."""
        self._lock = threading.Lock()
        self._closed = True
        self._endings.pop_all()
