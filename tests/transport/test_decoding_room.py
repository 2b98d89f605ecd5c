"""What decoding a long recording takes is counted with the bodies of uploads: it waits for room, or is refused."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import closing, contextmanager

import numpy as np
import pytest

from engine.config import Settings
from frontend.app import create_app
from frontend.lane.fast_lane import fast_lane
from frontend.server.decoding_room import Room, ThreadRoom
from frontend.server.inflight import InflightBodies, Wish
from frontend.server.transport_limits import TransportLimits
from frontend.testing import StandInEngine
from tests.conformance import sounds
from tests.support.http import Connection, Response, request_bytes
from tests.support.lane_host import Host, hosted
from tests.support.wait import wait_for

MB = 1_000_000
LIMIT_BYTES = 24 * MB
MODEL_RATE_HZ = 8000
PATH = "/api/optimized/predict"
WAYS = pytest.mark.parametrize("lane", [None, False], ids=["on the lane", "over the bridge"])


def _long_recording() -> bytes:
    """2.4 MB at half the model's rate: 9.6 MB of track."""
    return sounds.wav(np.random.default_rng(3).uniform(-0.3, 0.3, 1_200_000), rate_hz=MODEL_RATE_HZ // 2)


LONG = _long_recording()
SHORT = sounds.wav(sounds.tone(1.0))


@contextmanager
def host_of(lane: bool | None, *, wait_s: float, threads: int = 4) -> Iterator[Host]:
    settings = Settings(worker_threads=threads, inflight_wait_s=wait_s, max_inflight_bytes=LIMIT_BYTES)
    limits = TransportLimits().changed(
        longest_body_bytes=3 * MB, max_inflight_bytes=LIMIT_BYTES, inflight_wait_s=wait_s
    )
    with StandInEngine(sample_rate_hz=MODEL_RATE_HZ, segment_s=8.0):
        application = fast_lane(create_app(settings), enabled=lane, settings=settings)
        with closing(application), hosted(application, limits) as host:
            yield host
            wait_for(lambda: host.state.inflight.used_bytes == 0, "all of it given back")


def post(host: Host, body: bytes) -> Response:
    with Connection(host.address) as connection:
        return connection.request("POST", PATH, body, {"Content-Type": "audio/wav"})


@contextmanager
def all_taken(host: Host) -> Iterator[None]:
    """All room is somebody's, as that of a recording that is being computed."""
    given: Future[Room | None] = Future()
    host.state.loop.call_soon_threadsafe(host.state.room.ask, LIMIT_BYTES, 0, 60.0, given.set_result)
    room = given.result(10)
    assert room is not None
    del given
    yield
    del room


@WAYS
def test_long_recordings_that_are_sent_at_once_are_decoded_as_there_is_room(lane: bool | None) -> None:
    most_bytes, ended = 0, threading.Event()
    with host_of(lane, wait_s=60) as host, ThreadPoolExecutor(9) as pool:

        def watch() -> None:
            nonlocal most_bytes
            while not ended.wait(0.001):
                most_bytes = max(most_bytes, host.state.inflight.used_bytes)

        watching = pool.submit(watch)
        answers = list(pool.map(lambda _: post(host, LONG), range(8)))
        ended.set()
        watching.result()
    assert [answer.status for answer in answers] == [200] * 8
    assert 9 * MB < most_bytes <= LIMIT_BYTES * 5 // 4


@WAYS
def test_a_long_recording_that_finds_no_room_is_told_to_come_again(lane: bool | None) -> None:
    with host_of(lane, wait_s=0.2) as host:
        with all_taken(host):
            refused = post(host, LONG)
            assert (refused.status, refused.headers["retry-after"]) == (503, "5")
            assert refused.json()["code"] == "TOO_MANY_UPLOADS"
        wait_for(lambda: host.state.inflight.used_bytes == 0, "given back")
        assert post(host, LONG).status == 200


def test_short_recordings_are_answered_while_long_ones_wait_for_room() -> None:
    with host_of(None, wait_s=60, threads=1) as host, ThreadPoolExecutor(3) as pool:
        with all_taken(host):
            waiting = [pool.submit(post, host, LONG) for _ in range(3)]
            wait_for(lambda: host.state.inflight.waiting == 3, "all three wait")
            assert post(host, SHORT).status == 200
            flac = sounds.encoded(sounds.tone(1.0), "FLAC")
            assert post(host, flac).status == 200  # by the only thread that decodes
        assert [each.result(30).status for each in waiting] == [200] * 3


def test_a_client_that_leaves_the_line_leaves_nothing_in_it() -> None:
    with host_of(None, wait_s=60) as host, all_taken(host):
        with Connection(host.address) as connection:
            connection.send(request_bytes("POST", PATH, LONG, {"Content-Type": "audio/wav"}))
            wait_for(lambda: host.state.inflight.waiting == 1, "in line")
        wait_for(lambda: host.state.inflight.waiting == 0, "out of it")
        wait_for(lambda: host.state.inflight.used_bytes == LIMIT_BYTES, "its body is let go")


class Waiter:
    """A body that waits for more."""

    is_short = False
    held_bytes = 20
    lacking_bytes = 70
    refused = False

    def __init__(self, inflight: InflightBodies) -> None:
        self._inflight = inflight

    def pause_for_memory(self) -> None:
        """The line tells it to."""

    def resume_from_memory(self) -> None:
        """The line tells it to."""

    def refuse_for_memory(self) -> None:
        self.refused = True
        self._inflight.free(self.held_bytes, 1.0)


def test_where_only_those_are_left_who_wait_the_end_of_the_line_makes_room_for_who_can_finish() -> None:
    inflight = InflightBodies(limit_bytes=100, longest_body_bytes=50, patience_s=10)
    told: list[bool] = []
    waiters = [Waiter(inflight) for _ in range(3)]
    inflight.used_bytes = 3 * Waiter.held_bytes
    for waiter in waiters:
        inflight.press(waiter, 0.0)
    assert inflight.waiting == 3
    inflight.used_bytes += 20  # a body that is complete, and is to be decoded
    inflight.ask(Wish(60, 20, 99.0, told.append), 0.0)
    assert told == [True]
    assert [waiter.refused for waiter in waiters] == [False, False, True]
    assert inflight.used_bytes == 2 * Waiter.held_bytes + 20 + 60
    inflight.ask(Wish(60, 20, 99.0, told.append), 0.0)
    assert told == [True]  # the first will let go of its room: nobody is refused for the second


def test_what_is_larger_than_all_room_is_decoded_alone() -> None:
    inflight = InflightBodies(limit_bytes=100, longest_body_bytes=50, patience_s=10)
    told: list[tuple[str, bool]] = []
    large = [Wish(300, 0, 5.0, lambda granted: told.append(("first", granted)))]
    large.append(Wish(300, 0, 5.0, lambda granted: told.append(("second", granted))))
    for wish in large:
        inflight.ask(wish, 0.0)
    assert told == [("first", True)]
    inflight.sweep(6.0)
    assert told == [("first", True), ("second", False)]


def test_threads_of_another_server_wait_for_each_others_room() -> None:
    rooms = ThreadRoom()
    rooms.limit_bytes = 100
    first = rooms.wait(80, 1.0)
    assert first is not None
    assert rooms.wait(80, 0.05) is None
    small = rooms.wait(10, 1.0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(rooms.wait, 300, 30.0)
        del first
        with pytest.raises(FutureTimeout):
            waiting.result(0.05)  # there is somebody yet
        del small
        assert waiting.result(30) is not None
