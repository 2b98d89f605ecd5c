"""With the garbage collector off, what a request made is gone once it is answered, whatever the answer was.

A cycle would keep the upload with it: fifty megabytes for as long as the collector finds no reason to run.
"""

from __future__ import annotations

import gc
import logging
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from engine.config import Settings
from engine.spec import DEFAULT_DEPLOYMENT_ID
from frontend.app import create_app
from frontend.attach import current_client, detach
from frontend.lane.fast_lane import fast_lane
from tests.client.stage import PATIENCE_S, Stage, settings_of, wait_until
from tests.conformance import sounds
from tests.conformance.model import SAMPLE_RATE_HZ
from tests.conformance.wire import multipart
from tests.support.http import Connection, request_bytes
from tests.support.lane_host import serve

PATH = "/api/optimized/predict"
REQUESTS = 120
STUCK = "stuck"  # a deployment without an instance
FORM, KIND = multipart(sounds.ONE_SECOND, "night.wav", "audio/wav")
WAV = {"Content-Type": "audio/wav"}
NOT_SENT_IN_TIME = {**WAV, "X-Request-Timeout-Ms": "1"}
FLOAT = sounds.encoded(sounds.tone(1.0), "WAV", subtype="FLOAT")
# As a float the first sample reaches the model as it is, and this one is refused by it.
BROKEN = FLOAT[: FLOAT.index(b"data") + 8] + struct.pack("<f", -13.0) + FLOAT[FLOAT.index(b"data") + 12 :]

# name -> how often, path, body, headers, the statuses that it may have
REQUESTS_OF = {
    "answers": (REQUESTS, PATH, FORM, {"Content-Type": KIND}, {200}),
    "answers of the original form": (REQUESTS, "/api/predict", FORM, {"Content-Type": KIND}, {200}),
    "refusals": (REQUESTS, PATH, b"no sound", WAV, {415}),
    "refusals of a field": (REQUESTS, PATH + "?top_k=0", sounds.ONE_SECOND, WAV, {422}),
    "unknown deployments": (REQUESTS, PATH + "?deployment=nobody", sounds.ONE_SECOND, WAV, {404}),
    "deadlines": (30, f"{PATH}?deployment={STUCK}", sounds.ONE_SECOND, NOT_SENT_IN_TIME, {504}),
    "failures of the model": (50, PATH, BROKEN, WAV, {500}),
}  # fmt: skip


@pytest.fixture
def settings(runtime_dir: Path) -> Iterator[Settings]:
    """Of a process that is attached to a stage with one deployment that serves and one that does not."""
    with Stage(runtime_dir) as stage:
        serving = stage.deploy(DEFAULT_DEPLOYMENT_ID, frames=SAMPLE_RATE_HZ)
        stage.start_instance(serving)
        stage.deploy(STUCK, frames=SAMPLE_RATE_HZ)
        made = settings_of(runtime_dir=stage.runtime_dir)
        wait_until(lambda: current_client(made, wait_s=PATIENCE_S) is not None, "a client")
        yield made
        detach()


@contextmanager
def collector_off() -> Iterator[None]:
    """A failure is logged with its traceback, which pytest's own handler would keep."""
    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        logging.disable(logging.NOTSET)


def ours() -> Counter[str]:
    """How many objects of each of our classes there are, and frames and tracebacks that could hold some."""
    kinds = (type(each) for each in gc.get_objects())
    names = (f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)
    return Counter(name for name in names if name.startswith(("engine.", "frontend.", "builtins.traceback")))


def check_nothing_is_left(ask: Callable[[str, bytes, dict[str, str]], int]) -> None:
    for name, (count, path, body, headers, expected) in REQUESTS_OF.items():
        for _ in range(3):  # what is made once, and kept
            ask(path, body, headers)
        with collector_off():
            before = ours()
            statuses = {ask(path, body, headers) for _ in range(count)}
            left = ours() - before
        assert statuses <= expected, name
        assert sum(left.values()) < 20, (name, left)


def test_nothing_is_left_of_requests_to_the_views(settings: Settings) -> None:
    client = create_app(settings).test_client()

    def ask(path: str, body: bytes, headers: dict[str, str]) -> int:
        with client.post(path, data=body, headers=headers) as response:
            return response.status_code

    check_nothing_is_left(ask)


@pytest.mark.parametrize("lane", [None, False], ids=["on the lane", "over the bridge"])
def test_nothing_is_left_of_requests_on_an_event_loop(settings: Settings, lane: bool | None) -> None:
    application = fast_lane(create_app(settings), enabled=lane, settings=settings)
    with closing(application), serve(application) as address:
        with Connection(address) as connection:

            def ask(path: str, body: bytes, headers: dict[str, str]) -> int:
                return connection.request("POST", path, body, headers).status

            check_nothing_is_left(ask)
        _check_hang_ups(address)
        detach()  # while the loop that drives the client still runs


def _check_hang_ups(address: tuple[str, int]) -> None:
    """Clients that go away while the engine has their request."""
    request = request_bytes("POST", f"{PATH}?deployment={STUCK}", sounds.ONE_SECOND, WAV)
    with collector_off():
        before = ours()
        for _ in range(100):
            with socket.create_connection(address) as connection:
                connection.sendall(request)
        wait_until(lambda: sum((ours() - before).values()) < 20, "what hung up to be gone")
