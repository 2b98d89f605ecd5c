"""The original API in the engine's place, over real servers: while the engine is away, and where it fails itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.conformance import sounds
from tests.conformance.conftest import WAYS
from tests.conformance.wire import Address, Answer
from tests.serving.servers import ROUTES, address_of, as_environment, processes_of
from tests.support.http import request_bytes
from tests.support.load import load
from tests.support.original import ANSWER, How, Original, original_server
from tests.support.server import ServerProcess, free_port
from tests.support.wait import wait_for

OPTIMIZED, LEGACY = ROUTES
CALLERS = 64
DEADLINE_S = 2.0
BROKEN = {"model_factory": "engine.testing.models:broken", "model_pool_size": 1}


@dataclass(frozen=True)
class Unserved:
    """A server whose model cannot be made, and the port where its original API is, or would be."""

    process: ServerProcess
    original_port: int

    @property
    def address(self) -> Address:
        return address_of(self.process)

    def ask(self, content: bytes = sounds.ONE_SECOND) -> Answer:
        return self.address.upload(LEGACY, content)

    def ask_in_a_hurry(self) -> tuple[Answer, float]:
        """The answer, and how many seconds it took."""
        begun = time.monotonic()
        within = {"X_Request_Timeout_Ms": str(int(DEADLINE_S * 1000))}
        return self.address.post(LEGACY, sounds.ONE_SECOND, "audio/wav", **within), time.monotonic() - begun


@pytest.fixture(scope="module", params=WAYS)
def unserved(request: pytest.FixtureRequest) -> Iterator[Unserved]:
    port = free_port()
    environment = as_environment({**BROKEN, "original_api_url": f"http://127.0.0.1:{port}"})
    with ServerProcess(WAYS[request.param], environment=environment, ready="/health") as process:
        yield Unserved(process, port)


@pytest.fixture
def original(unserved: Unserved) -> Iterator[Original]:
    """It answers, and is asked: whatever happened before is over."""
    with original_server(unserved.original_port) as server:
        wait_for(lambda: is_of_the_original(unserved.ask()), "the original answers")
        yield server


def established(port: int) -> int:
    """Connections to a port of this machine that neither side has closed, as the kernel has them."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)


def is_of_the_original(answer: Answer) -> bool:
    return answer.status == 200 and answer.body == ANSWER and answer.headers.get("x-served-by") == "original"


@pytest.mark.parametrize("how", [How.DEAD, How.SLOW, How.DRIP, How.DRIP_HEAD])
def test_64_callers_of_an_original_that_does_not_answer_get_503_in_time(
    unserved: Unserved, original: Original, how: How
) -> None:
    original.how = how
    if how is How.DEAD:
        original.stop()
    with ThreadPoolExecutor(CALLERS) as callers:
        asked = [callers.submit(unserved.ask_in_a_hurry) for _ in range(CALLERS)]
        others = [unserved.address.get("/health").status for _ in range(5)]
        others.append(unserved.address.post(LEGACY, b"x", "text/plain").status)
        found = [caller.result(10 * DEADLINE_S) for caller in asked]
    took_s = sorted(took_s for _, took_s in found)
    print(f"{how.name}: median {took_s[CALLERS // 2]:.2f} s, slowest {took_s[-1]:.2f} s")
    assert others == [200] * 5 + [400], "others are served meanwhile"
    assert {answer.status for answer, _ in found} == {503}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer, _ in found)
    assert took_s[-1] < 3 * DEADLINE_S, "they would hang for as long as it drips"
    (worker,) = unserved.process.workers()
    assert psutil.Process(worker).num_threads() < CALLERS, "threads are bounded"


def test_the_original_is_asked_again_by_itself(unserved: Unserved, original: Original) -> None:
    original.how = How.HANG_UP
    wait_for(lambda: unserved.ask().status == 503 and not original.open_connections, "it fails")
    asked = len(original.requests)
    assert [unserved.ask().status for _ in range(4)] == [503] * 4
    assert len(original.requests) <= asked + 4
    original.how = How.ANSWER
    wait_for(lambda: is_of_the_original(unserved.ask()), "it answers again")
    assert all(is_of_the_original(unserved.ask()) for _ in range(5))


def test_what_it_answers_is_handed_on_complete_or_not_at_all(unserved: Unserved, original: Original) -> None:
    original.body = bytes(16 * 1024 * 1024)
    assert unserved.ask().body == original.body
    original.body += b"x"
    assert unserved.ask().status == 503, "half of it would be worse"
    original.body, original.how = b"x" * 100_000, How.CUT
    assert unserved.ask().status == 503
    original.how, original.status = How.CHUNKED, 415
    wait_for(lambda: unserved.ask().status == 415, "its refusals are its own")
    assert unserved.ask().body == original.body


def test_a_caller_that_hangs_up_frees_what_it_held(unserved: Unserved, original: Original) -> None:
    wait_for(lambda: original.open_connections <= 1, "what was used before is idle")
    original.how = How.SLOW
    request = request_bytes("POST", LEGACY, sounds.ONE_SECOND, {"Content-Type": "audio/wav"})
    with unserved.address.connection() as connection:
        connection.send(request)
        wait_for(lambda: len(original.requests) >= 2, "it is asked")
    wait_for(lambda: original.open_connections == 0, "its connection is given up")


def test_all_frontends_together_have_no_more_connections_than_allowed() -> None:
    with original_server() as original:
        original.how = How.SLOW
        settings = {"original_api_url": original.url, "http_max_connections": 3, "workers": 2}
        environment = as_environment({**BROKEN, **settings})
        with ServerProcess(WAYS["fast lane"], environment=environment, ready="/health") as process:
            unserved = Unserved(process, original.port)
            seen: list[int] = []

            def all_over() -> bool:
                seen.append(established(original.port))
                return all(each.done() for each in asked)

            with ThreadPoolExecutor(CALLERS) as callers:
                asked = [callers.submit(unserved.ask_in_a_hurry) for _ in range(CALLERS)]
                wait_for(all_over, "all are answered", step_s=0.005)
            assert {each.result()[0].status for each in asked} == {503}
            assert 2 <= max(seen) <= 3, "each frontend had a share, and no more was open"


ENGINE = {
    "model_factory": "engine.testing.models:loudness",
    "model_pool_size": 1,
    "model_warmup_requests": 1,
    "sample_rate_hz": 8000,
    "segment_s": 0.2,
}


@pytest.mark.parametrize("way", WAYS)
def test_it_answers_while_the_engine_is_stopped_and_the_engine_again_by_itself(way: str) -> None:
    content = sounds.wav(sounds.tone(0.2))
    with original_server() as original:
        environment = as_environment({**ENGINE, "original_api_url": original.url})
        with ServerProcess(WAYS[way], environment=environment, ready="/ready") as process:
            address = address_of(process)

            def engine_answers() -> bool:
                answer = address.upload(OPTIMIZED, content)
                assert answer.status == 200, answer.body
                return not is_of_the_original(answer)

            assert engine_answers()
            (supervisor,) = processes_of(process, "engine.supervisor")
            with load(process, OPTIMIZED, content, clients=3) as answers:
                os.kill(supervisor, signal.SIGTERM)
                wait_for(lambda: not engine_answers(), "the engine has gone")
                wait_for(engine_answers, "it is back", timeout_s=60)
            assert set(answers.statuses) == {200} and not answers.failures, "and nobody was refused meanwhile"
            asked = len(original.requests)
            assert all(engine_answers() for _ in range(10)) and len(original.requests) == asked
            counted = f'nightscan_engine_fallbacks_total{{outcome="answered"}} {float(asked)}'
            wait_for(lambda: counted in address.get("/metrics").body.decode(), "each is counted once")

            def pool_is_told() -> bool:
                pool = address.get("/api/optimized/stats").value["connection_pools"]["http"]
                told = pool["initialized"], pool["in_use"], pool["breaker"]
                return told == (True, 0, "closed") and pool["opened"] >= 1

            wait_for(pool_is_told, "what the pool did is in its figures")


def test_without_fallback_it_is_503_while_the_engine_is_stopped() -> None:
    content = sounds.wav(sounds.tone(0.2))
    with original_server() as original:
        settings = {**ENGINE, "original_api_url": original.url, "fallback_to_original": "false"}
        with ServerProcess(WAYS["fast lane"], environment=as_environment(settings), ready="/ready") as process:
            address = address_of(process)
            (supervisor,) = processes_of(process, "engine.supervisor")
            os.kill(supervisor, signal.SIGTERM)
            wait_for(lambda: address.upload(LEGACY, content).status == 503, "the engine has gone")
        assert not original.requests
