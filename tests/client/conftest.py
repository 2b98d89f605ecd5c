"""A stage for every test, and clients on it that are closed at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop

from engine.client import EngineClient
from tests.client.stage import PATIENCE_S, Stage, settings_of


@pytest.fixture(scope="session", autouse=True)
def uvloop_has_run() -> None:
    """libuv opens a pipe at its first loop and keeps it for the process: no test's leak."""

    async def nothing() -> None:
        """Only to have a loop run."""

    uvloop.run(nothing())


@pytest.fixture
def stage(runtime_dir: Path) -> Iterator[Stage]:
    with Stage(runtime_dir) as made:
        yield made


@pytest.fixture
def attach(stage: Stage) -> Iterator[Callable[..., EngineClient]]:
    """Makes a client of the stage, with settings given by name."""
    made: list[EngineClient] = []

    def make(**settings: object) -> EngineClient:
        client = EngineClient.attach(
            runtime_dir=stage.runtime_dir, wait_s=PATIENCE_S, settings=settings_of(**settings)
        )
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()
