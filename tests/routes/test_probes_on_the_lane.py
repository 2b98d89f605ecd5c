"""Probes are asked by whoever decides over our life: they do not wait behind recordings."""

from __future__ import annotations

import io
import select
from contextlib import ExitStack, closing

import numpy as np
import soundfile

from engine.config import Settings
from frontend.app import create_app
from frontend.lane.fast_lane import fast_lane
from frontend.testing import StandInEngine
from tests.support.http import Connection, request_bytes
from tests.support.lane_host import serve

SETTINGS = Settings(worker_threads=1)
UPLOADS = 6


def silent_flac(minutes: int) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(minutes * 60 * 8_000, np.int16), 8_000, format="FLAC")
    return file.getvalue()


def test_a_probe_is_answered_while_every_thread_decodes_a_recording() -> None:
    upload = request_bytes("POST", "/api/optimized/predict", silent_flac(20), {"Content-Type": "audio/flac"})
    with ExitStack() as stack:
        stack.enter_context(StandInEngine(labels=["owl", "fox"]))
        application = stack.enter_context(closing(fast_lane(create_app(SETTINGS), settings=SETTINGS)))
        address = stack.enter_context(serve(application))
        senders = [stack.enter_context(Connection(address)) for _ in range(UPLOADS)]
        for sender in senders:
            sender.send(upload)
        probe = stack.enter_context(Connection(address))
        assert probe.request("GET", "/ready").status in (200, 503)
        waiting, _, _ = select.select([senders[-1].socket], [], [], 0)
        assert not waiting, "the probe stood in line behind the recordings"
        assert {sender.read_response().status for sender in senders} == {400}
