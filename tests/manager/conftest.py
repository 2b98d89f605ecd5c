"""One engine for the tests of a module; each test joins it, and takes out of service what it deploys."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.config import Settings, load_settings
from engine.config.stores import default_state_dir
from engine.launch import start_supervisor
from engine.manager import SyncModelServingManager
from engine.messages import SOCKET_NAME
from tests.client.stage import wait_until
from tests.manager.models import FRAMES

OPTIONS: dict[str, Any] = {"input_shape": (FRAMES,), "pool_size": 1, "warmup_requests": 1}

Deploy = Callable[..., None]


def clean_settings(runtime_dir: Path | str, **values: Any) -> Settings:
    """Defaults, whatever this environment says, in a directory of their own, and with the journal of the tests."""
    values = {"state_dir": default_state_dir(), **values}
    return load_settings({}).changed(runtime_dir=str(runtime_dir), workers=2, **values)


def engine_processes(folder: Path | str) -> list[int]:
    """Keepers, supervisors and instances of the engines whose runtime directory is or lies in `folder`."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        arguments = process.info["cmdline"] or []
        if "--runtime-dir" in arguments and str(folder) in arguments[arguments.index("--runtime-dir") + 1]:
            found.append(process.pid)
    return found


@pytest.fixture(scope="module")
def engine_dir() -> Iterator[Path]:
    """Where an engine without deployments runs; afterwards nothing may be left of it."""
    path = Path(tempfile.mkdtemp(prefix="ns-", dir="/tmp"))
    settings = clean_settings(path, enabled=False)
    supervisor = start_supervisor(path, settings.to_environment())
    wait_until(lambda: (path / SOCKET_NAME).exists(), "the engine listens")
    yield path
    supervisor.terminate()
    assert supervisor.wait() == 0
    wait_until(lambda: not engine_processes(path), "the engine is gone")
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def manager(engine_dir: Path) -> Iterator[SyncModelServingManager]:
    """A manager that has joined the module's engine."""
    with SyncModelServingManager(clean_settings(engine_dir, request_queue_size=6)) as made:
        yield made


@pytest.fixture
def deploy(manager: SyncModelServingManager) -> Iterator[Deploy]:
    """Deploys, and takes out of service at the end."""
    deployed: set[str] = set()

    def do(deployment_id: str, factory: Any, **options: Any) -> None:
        deployed.add(deployment_id)
        made = manager.deploy_optimized_model(deployment_id, factory, **{**OPTIONS, **options})
        assert made, manager.deployment_error(deployment_id)

    yield do
    for deployment_id in deployed:
        assert manager.undeploy_optimized_model(deployment_id)


@pytest.fixture
def instance_pids(manager: SyncModelServingManager) -> Callable[[], list[int]]:
    """The instances there are, by the supervisor's own account."""

    def ask() -> list[int]:
        status = manager.core.client.request("status", timeout_s=20)
        versions = [version for each in status["deployments"] for version in each["versions"]]
        return [instance["pid"] for version in versions for instance in version["instances"]]

    return ask
