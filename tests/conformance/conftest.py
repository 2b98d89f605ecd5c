"""One server for each way in, shared by all tests of this folder; after every test no slot may be left behind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.wire import Address
from tests.support.server import ServerProcess
from tests.support.wait import wait_for

WAYS = {
    "fast lane": ["-c", "python:frontend.server.gunicorn_config", "frontend.app:served_app()"],
    "flask views": ["-c", "python:frontend.server.gunicorn_config", "-k", "gthread", "frontend.app:create_app()"],
}
SETTING = "NIGHTSCAN_OPTIMIZED_SERVING__"
MODEL = {
    f"{SETTING}MODEL_FACTORY": "tests.conformance.model:loud_parts",
    f"{SETTING}MODEL_POOL_SIZE": "1",
    f"{SETTING}MODEL_WARMUP_REQUESTS": "1",
}
_SLOTS = re.compile(r'^nightscan_engine_slots\{deployment="[^"]*",state="(\w+)"\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True)
class Served:
    """A running server."""

    process: ServerProcess
    predict_log: Path
    pids: frozenset[int]  # of all its processes, as they were when it became ready

    @property
    def address(self) -> Address:
        return Address(self.process.port)

    def busy_slots(self) -> dict[str, float]:
        """Slots of all lanes that are not free, by state."""
        found = _SLOTS.findall(self.address.get("/metrics").body.decode())
        assert found, "no slots in the metrics"
        return {state: float(count) for state, count in found if state != "free" and float(count)}


@pytest.fixture(scope="session", params=WAYS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Real gunicorn and a real engine, with one way in or the other."""
    predict_log = tmp_path_factory.mktemp("served") / "predict.log"
    environment = {
        **MODEL,
        "PREDICT_LOG_FILE": str(predict_log),
        "API_CORS_ORIGINS": "https://app.example,https://other.example",
    }
    with ServerProcess(WAYS[request.param], environment=environment, ready="/ready") as process:
        yield Served(process, predict_log, frozenset(process.processes()))


@pytest.fixture
def served(server: Served) -> Iterator[Served]:
    """The server; nobody may be dead and no slot busy when the test is over."""
    yield server
    wait_for(lambda: not server.busy_slots(), "all slots free")
    gone = [pid for pid in server.pids if not Path(f"/proc/{pid}").exists()]
    assert not gone, f"processes {gone} died"
