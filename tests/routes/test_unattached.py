"""Answers over HTTP while this process has no lane: counted in the row of the process, and shown with the others."""

from __future__ import annotations

import pytest

from engine.config import Settings
from engine.observe.exposition import exposition
from engine.shm.machine import MachineSegment
from engine.shm.machine_layout import MachineGeometry
from frontend.attach import current_stores
from frontend.predict.context import RouteContext
from frontend.server.message import HttpResponse
from tests.routes.test_fallback import request_to

SETTINGS = Settings(enabled=False, journal="off")


@pytest.mark.parametrize(("status", "shown_as"), [(503, "503"), (418, "other")])
def test_an_answer_without_an_engine_is_counted_and_shown(status: int, shown_as: str) -> None:
    response = RouteContext(SETTINGS).complete(
        HttpResponse(status, [], b""), request_to("/predict"), "id", endpoint="legacy"
    )
    assert response.status == status
    machine = MachineSegment.create(MachineGeometry(rows=2, l1_bytes=0))
    current_stores(SETTINGS).meet(machine)
    text = exposition(None, SETTINGS, machine.process_totals()).decode()
    machine.close()
    assert f'nightscan_http_requests_total{{endpoint="legacy",method="POST",status="{shown_as}"}} 1.0' in text
