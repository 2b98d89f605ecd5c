"""A pool of connections to an original API that a test can tell how to behave."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.clock import Deadline
from engine.errors import EngineError
from engine.shm.process_row import ProcessRow
from engine.stores.http_calls import HttpCall
from engine.stores.http_line import HttpQuestion
from engine.stores.http_pool import HttpPool
from tests.support.original import Original, original_server

__all__ = ["LONG_S", "QUESTION", "ask", "error_of", "original", "pool", "pool_for"]

QUESTION = HttpQuestion("/api/predict", {"content-type": "audio/wav"}, b"RIFF....WAVE")
LONG_S = 30.0  # nothing here takes that long unless it hangs


@pytest.fixture
def original() -> Iterator[Original]:
    with original_server() as server:
        yield server


def pool_for(url: str, share: int = 4, connect_timeout_s: float = 5.0) -> HttpPool:
    pool = HttpPool(url, ProcessRow.private({"http": share}), connect_timeout_s=connect_timeout_s)
    pool.open()
    return pool


@pytest.fixture
def pool(original: Original) -> Iterator[HttpPool]:
    made = pool_for(original.url)
    yield made
    made.close()


def ask(pool: HttpPool, within_s: float = LONG_S) -> HttpCall:
    return pool.ask(QUESTION, Deadline.after_s(within_s))


def error_of(call: HttpCall) -> EngineError:
    with pytest.raises(EngineError) as raised:
        call.result()
    return raised.value
