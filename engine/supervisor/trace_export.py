"""The thread that makes traces of what the rings remember. Nothing waits for it: not the loop, and no request.

It looks often enough for ordinary load. What a ring has lost meanwhile, what is more than may be traced, and what a
collector has not taken is counted, and nothing is kept for later: memory is that of one look.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from engine.clock import now_ns
from engine.config import Settings
from engine.core.trace_budget import TraceBudget
from engine.observe.answered import AnsweredRequest
from engine.shm.machine import MachineSegment
from engine.shm.process_row import ProcessRow
from engine.shm.ring_reader import RingReader
from engine.shm.request_record import is_sampled, unpack_request
from engine.stores.ticker import Ticker
from engine.supervisor.guard import caught

_LOOK_EVERY_S = 0.1
_LOOK_SOON_S = 0.02  # where so much was new that a ring may be full before the next look
_MUCH = 40
_MOST_AT_ONCE = 500  # requests in one sending; some 2 MB
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0  # while a collector takes nothing
_LEAVE_WITHIN_S = 0.3  # twice, of an engine that ends: once for the last traces, once for the thread
_log = logging.getLogger(__name__)


class Collector(Protocol):
    """Whoever takes spans; see `SpanSender`."""

    def send(self, requests: list[AnsweredRequest]) -> str: ...

    def close(self) -> None: ...


class TraceExport:
    """Of one supervisor. `meet` and `close` are for the loop's thread; `row`: the supervisor's, where it counts."""

    def __init__(self, endpoint: str, row: ProcessRow, per_s: int, connect: Callable[[str], Collector]) -> None:
        """`connect`: makes the collector, in the thread; what it raises ImportError for is not installed."""
        self._endpoint = endpoint
        self._row = row
        self._budget = TraceBudget(per_s, now_ns())
        self._connect = connect
        self._collector: Collector | None = None
        self._lock = threading.Lock()  # around the next one
        self._newer: MachineSegment | None = None  # that the thread has not seen yet
        self._is_met = False
        self._closing = False
        self._left = threading.Event()
        self._machine: MachineSegment | None = None  # of the thread alone, as is what follows
        self._reader: RingReader | None = None
        self._is_missing = False  # OpenTelemetry
        self._failures = 0
        self._ticker = Ticker(self._step, name="traces")

    @classmethod
    def of(cls, settings: Settings, row: ProcessRow) -> TraceExport:
        """As the settings want it: it does nothing where nobody is to get traces."""
        return cls(settings.otel_endpoint, row, settings.otel_requests_per_s, connect)

    def meet(self, machine: MachineSegment | None) -> None:
        """There is a segment, or another one. Raises OSError, ProtocolError."""
        if machine is None or not self._endpoint:
            return
        own = machine.again()
        with self._lock:
            before, self._newer = self._newer, own
        self._is_met = True
        if before is not None:
            before.close()
        self._ticker.wake()

    def close(self) -> None:
        """Sends once more what there is, within a bounded time. Idempotent."""
        if self._closing:
            return
        self._closing = True
        if self._is_met:
            self._ticker.wake()
            self._left.wait(_LEAVE_WITHIN_S)
        if self._collector is not None:
            self._collector.close()
        self._ticker.close(_LEAVE_WITHIN_S)
        for machine in (self._machine, self._newer):
            if machine is not None:
                machine.close()

    # --- in the thread ----------------------------------------------------------------------------------------------

    def _step(self) -> float | None:
        pause_s: list[float | None] = []
        error = caught(lambda: pause_s.append(self._look()))
        if error is not None and not self._closing:  # of a library, or of ours: said once, and tried again
            self._note_failure(f"making traces failed: {error}", error)
            return self._pause_s()
        if self._closing:
            self._left.set()
            return None
        return pause_s[0]

    def _look(self) -> float | None:
        with self._lock:
            newer, self._newer = self._newer, None
        if newer is not None:
            if self._machine is not None:
                self._machine.close()
            self._machine, self._reader = newer, RingReader(newer)
        if self._reader is None or not self._is_connected() or (self._closing and self._failures):
            return None
        new = self._reader.read()
        if new.lost:
            self._row.add("traces.lost", new.lost)
        chosen = self._chosen(new.payloads)
        if chosen and not self._sent(chosen):
            return self._pause_s()
        return _LOOK_SOON_S if len(new.payloads) + new.lost > _MUCH else _LOOK_EVERY_S

    def _is_connected(self) -> bool:
        if self._collector is None and not self._is_missing:
            try:
                self._collector = self._connect(self._endpoint)
            except ImportError as error:
                self._is_missing = True
                _log.warning("no traces are made: %s; install nightscan-engine[otel], or unset otel_endpoint", error)
        return self._collector is not None

    def _chosen(self, payloads: list[bytes]) -> list[AnsweredRequest]:
        """What is to be traced: whoever said that it does not want to be is not, whoever wants to be comes first."""
        wanted = [payload for payload in payloads if is_sampled(payload) is not False]
        given = min(self._budget.take(len(wanted), now_ns()), _MOST_AT_ONCE)
        if given < len(wanted):
            self._row.add("traces.left_out", len(wanted) - given)
            wanted.sort(key=lambda payload: is_sampled(payload) is None)
            wanted = wanted[:given]
        return [unpack_request(payload) for payload in wanted]

    def _sent(self, chosen: list[AnsweredRequest]) -> bool:
        assert self._collector is not None
        why_not = self._collector.send(chosen)
        if not why_not:
            self._row.add("traces.sent", len(chosen))
            if self._failures:
                _log.info("the collector of traces takes them again")
            self._failures = 0
            return True
        self._row.add("traces.refused", len(chosen))
        self._note_failure(
            f"the collector of traces (otel_endpoint) does not take them ({why_not}); requests are served as before"
        )
        return False

    def _note_failure(self, text: str, error: Exception | None = None) -> None:
        if not self._failures:
            _log.warning("%s", text, exc_info=error)
        self._failures += 1

    def _pause_s(self) -> float:
        return min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, 10))


def connect(endpoint: str) -> Collector:
    """The collector there. Raises ImportError where OpenTelemetry is not installed."""
    # Here and not above: 5 MB and a third of a second, for those who have it configured alone.
    from engine.supervisor.span_sender import SpanSender

    return SpanSender(endpoint)
