"""What all routes of one application share, and what every answer of theirs carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from engine.clock import now_ns
from engine.config import Settings
from engine.observe.answered import AnsweredRequest
from engine.observe.histograms import AUDIO_LENGTH
from engine.stores.preconditions import check_redis_address
from engine.stores.spool import JournalWriter
from engine.stores.two_level import TwoLevelCache
from frontend.attach import current_stores
from frontend.predict.cors import Cors
from frontend.predict.predict_log import PredictLog
from frontend.server.message import HttpRequest, HttpResponse

REQUEST_ID_HEADER = "X-Request-ID"  # of every answer that a handler of ours made


class Inquiry(Protocol):
    """Somebody else who is asked for the answer while the engine cannot serve. Whoever drops it must cancel it."""

    @property
    def is_done(self) -> bool:
        """Whether `response` has nothing to wait for."""

    @property
    def outcome(self) -> str:
        """How it ended, of FALLBACK_OUTCOMES: for after `response`."""

    def add_done_callback(self, callback: Callable[[], object]) -> None:
        """Calls back, in any thread, when there is nothing to wait for but what `response` itself has to do."""

    def response(self) -> HttpResponse | None:
        """Waits, within the request's deadline if it can. None: it could not answer either."""

    def cancel(self) -> None:
        """Nobody wants the answer any more."""


# Begins to ask, and returns; never raises.
Original = Callable[[HttpRequest], Inquiry]


@dataclass(frozen=True)
class RouteContext:
    """Settings, the way to the original API (None: there is none), and the extras of every answer."""

    settings: Settings
    original: Original | None = None
    cors: Cors = field(default_factory=Cors)
    predict_log: PredictLog = field(default_factory=lambda: PredictLog(""))

    def __post_init__(self) -> None:
        """Raises ConfigError: who makes the application is told of an address that is none, not who calls it."""
        check_redis_address(self.settings)

    @property
    def cache(self) -> TwoLevelCache | None:
        """What this process has of one. Raises ConfigError for settings of stores that are wrong."""
        return current_stores(self.settings).cache

    @property
    def journal(self) -> JournalWriter | None:
        """This process's; None where none is kept."""
        return current_stores(self.settings).journal if self.settings.journal == "on" else None

    def remembers(self, total_ns: int, at_ns: int) -> bool:
        """Whether an ordinary request is to be remembered (`RequestRing.wants`). Raises ConfigError as `remember`."""
        return current_stores(self.settings).row.requests.wants(total_ns, at_ns)

    def remember(self, answered: AnsweredRequest) -> None:
        """It is among the last requests of this process. Raises ConfigError for settings of stores that are wrong."""
        current_stores(self.settings).row.requests.write(answered)

    def count_fallback(self, outcome: str) -> None:
        """One of FALLBACK_OUTCOMES. Raises ConfigError for settings of stores that are wrong."""
        current_stores(self.settings).row.add(f"fallback.{outcome}")

    def complete(
        self,
        response: HttpResponse,
        request: HttpRequest,
        request_id: str,
        *,
        endpoint: str,
        recording_s: float | None = None,
    ) -> HttpResponse:
        """Adds what every answer carries and counts it, before its first byte leaves; the last step of every exchange.

        `recording_s`: length of the recording that was answered. Raises ConfigError as above.
        """
        response.headers.append((REQUEST_ID_HEADER, request_id))
        response.headers.extend(self.cors.headers(request.headers))
        recording = None
        if recording_s is not None:
            size_bytes = 0 if request.upload is None else len(request.upload.data)
            recording = (size_bytes, round(recording_s * AUDIO_LENGTH.per_unit))
        self.count_answer(request.method, endpoint, response.status, now_ns() - request.arrival_ns, recording)
        return response

    def count_answer(
        self, method: str, endpoint: str, status: int, duration_ns: int, recording: tuple[int, int] | None = None
    ) -> None:
        """One answer over HTTP: see `ProcessRow.add_answer`. Raises ConfigError as above."""
        current_stores(self.settings).row.add_answer(method, endpoint, status, duration_ns, recording)
