"""An engine with its status server, of which a test may kill this and that."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from benchmarks.workloads import WORKLOADS
from tests.serving.servers import as_environment, processes_of
from tests.support.load import Answers, load
from tests.support.server import ServerProcess, free_port
from tests.support.wait import wait_for

WORKLOAD = WORKLOADS["tiny"]
SETTINGS = {"model_pool_size": 2, "model_warmup_requests": 1, "max_batch_size": 4}
PREDICT = "/api/optimized/predict"


class WatchedEngine:
    """A context manager: it serves inside. `server` is the whole of it, its frontends and its supervisor."""

    def __init__(self, **settings: object) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ns-")
        self.status_port = free_port()
        environment = {
            **WORKLOAD.environment(Path(self._folder.name)),
            **as_environment({**SETTINGS, "status_port": self.status_port, **settings}),
        }
        self.server = ServerProcess(["serve"], module="frontend.cli.main", environment=environment, ready="/ready")

    def __enter__(self) -> WatchedEngine:
        self.server.__enter__()
        wait_for(lambda: len(self.instances) == SETTINGS["model_pool_size"], "all instances")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.__exit__(kind, error, trace)
        self._folder.cleanup()

    @property
    def page_url(self) -> str:
        return f"http://127.0.0.1:{self.status_port}/"

    @property
    def token(self) -> str:
        return (self.server.runtime_dir / "admin.token").read_text().strip()

    @property
    def instances(self) -> list[int]:
        return processes_of(self.server, "engine.instance")

    @property
    def supervisor(self) -> int:
        (pid,) = processes_of(self.server, "engine.supervisor")
        return pid

    def predict(self, *, query: str = "", request_id: str = "one") -> int:
        """The status of one answer."""
        headers = {"Content_Type": "audio/wav", "X_Request_ID": request_id}
        return self.server.fetch("POST", PREDICT + query, WORKLOAD.bodies[0], **headers).status

    @contextmanager
    def loaded(self, clients: int = 1) -> Iterator[Answers]:
        """Requests without a pause, all of which instances compute: there is no cache."""
        with load(self.server, f"{PREDICT}?top_k=2", WORKLOAD.bodies[0], clients=clients) as answers:
            yield answers

    @contextmanager
    def without_supervisor(self) -> Iterator[None]:
        """It is killed, and nobody starts another one inside."""
        (keeper,) = processes_of(self.server, "engine.supervisor.keeper")
        os.kill(keeper, signal.SIGSTOP)
        try:
            os.kill(self.supervisor, signal.SIGKILL)
            yield
        finally:
            os.kill(keeper, signal.SIGCONT)
