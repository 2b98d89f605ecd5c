"""Steady requests while something happens to the engine."""

from __future__ import annotations

import threading
from types import TracebackType

from engine.client import EngineClient
from engine.errors import EngineError
from engine.spec import DEFAULT_DEPLOYMENT_ID
from tests.supervisor.engine_process import ask
from tests.support.wait import wait_for


class Load:
    """Requests one after the other from some threads, inside `with`; each must be answered unless they may fail."""

    def __init__(
        self,
        client: EngineClient,
        threads: int,
        deployment: str = DEFAULT_DEPLOYMENT_ID,
        *,
        may_fail: bool = False,
    ) -> None:
        self._deployment = deployment
        self._may_fail = may_fail
        self.versions: set[int] = set()
        self.answered = 0
        self.failures: list[str] = []
        self._client = client
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, name=f"load-{number}") for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Load:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        assert error is not None or self._may_fail or not self.failures, self.failures[:3]

    def _run(self) -> None:
        value = 0.0
        while not self._stop.is_set():
            value += 1
            try:
                answer = ask(self._client, value, self._deployment)
            except EngineError as error:
                self.failures.append(repr(error))
                if self._may_fail:
                    return
                continue
            assert answer[2] == value
            self.versions.add(int(answer[0]))
            self.answered += 1

    def wait_answered(self, more: int) -> None:
        """Until so many more requests have been answered."""
        target = self.answered + more
        wait_for(lambda: self.answered >= target, f"{more} more answers")

    def wait_version(self, version: int) -> None:
        """Until that version has answered."""
        wait_for(lambda: version in self.versions, f"answers of version {version}")
