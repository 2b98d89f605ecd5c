"""What serving costs beside the model: only instances hold torch, and everybody else stays small."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.workloads import WORKLOADS
from tests.conformance import sounds
from tests.conformance.wire import answer_on, multipart
from tests.serving.servers import ROUTES, processes_of, server, workload_server
from tests.support.http import request_bytes
from tests.support.server import ServerProcess, has_torch

LARGEST_PSS_BYTES = 90_000_000
REQUESTS = 200
FEW = {"model_pool_size": 1, "model_warmup_requests": 1, "max_batch_size": 2, "workers": 2}


@pytest.fixture(params=["tiny", "demo"])
def worked(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that has answered requests over both routes."""
    if request.param == "tiny":
        workload = WORKLOADS["tiny"]
        starting, content = workload_server(workload, tmp_path, FEW), workload.bodies[0]
    else:
        starting = server(FEW)
        content = sounds.wav(sounds.tone(1.5, rate_hz=22_050, pitch_hz=2500), rate_hz=22_050)
    with starting as process:
        _send(process, content)
        yield process


def test_only_instances_hold_torch_and_the_others_are_small(worked: ServerProcess) -> None:
    roles = {
        "master": [worked.pid],
        "frontend": worked.workers(),
        "keeper": processes_of(worked, "engine.supervisor.keeper"),
        "supervisor": processes_of(worked, "engine.supervisor"),
        "instance": processes_of(worked, "engine.instance"),
    }
    assert {role: len(pids) for role, pids in roles.items()} == {
        "master": 1, "frontend": 2, "keeper": 1, "supervisor": 1, "instance": 1,
    }  # fmt: skip
    assert set(worked.processes()) == {pid for pids in roles.values() for pid in pids}
    assert {role: {has_torch(pid) for pid in pids} for role, pids in roles.items()} == {
        **dict.fromkeys(roles, {False}), "instance": {True},
    }  # fmt: skip
    used = {role: max(map(_pss_bytes, pids)) for role, pids in roles.items() if role != "instance"}
    print({role: f"{size / 1e6:.1f} MB" for role, size in used.items()})
    assert all(size < LARGEST_PSS_BYTES for size in used.values()), used


def _send(process: ServerProcess, content: bytes) -> None:
    """Half of the requests on each route, over connections that are kept, to both frontends."""
    body, kind = multipart(content, "night.wav", "audio/wav")
    requests = [request_bytes("POST", route, body, {"Content-Type": kind}) for route in ROUTES]
    with process.connect() as first, process.connect() as second:
        for number in range(REQUESTS):
            connection = (first, second)[number % 4 // 2]
            connection.send(requests[number % 2])
            assert answer_on(connection).status == 200


def _pss_bytes(pid: int) -> int:
    """Its memory, with what it shares divided among those who share it."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
