"""Instances of all deployments together never exceed the cores."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from engine.client import EngineClient
from engine.spec import DEFAULT_DEPLOYMENT_ID
from tests.supervisor.engine_process import ANSWER_S, EngineProcess, deploy, ready_pids, serving, status, wait_serving
from tests.supervisor.load import Load
from tests.support.wait import wait_for

CORES = 3


class Census:
    """Counts instances again and again, inside `with`; those that leave finish their batch and do not count."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="census")
        self.exceeded: list[Any] = []

    def __enter__(self) -> Census:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()
        assert not self.exceeded, self.exceeded[:3]

    def _run(self) -> None:
        while not self._over.wait(0.01):
            found = self._client.request("status", timeout_s=ANSWER_S)["deployments"]
            versions = [version for deployment in found for version in deployment["versions"]]
            stay = [
                (version["version"], instance["state"])
                for version in versions
                for instance in version["instances"]
                if version["state"] != "closing" and instance["state"] not in ("leaving", "dead")
            ]
            if len(stay) > max(CORES, sum(version["state"] != "closing" for version in versions)):
                self.exceeded.append(stay)


def test_two_deployments_and_a_swap_share_the_cores(runtime_dir: Path) -> None:
    with EngineProcess(runtime_dir, cores=CORES, model_pool_size=3) as engine, engine.client() as client:
        wait_serving(client)
        ready_pids(client, 3)
        assert serving(client)["pool_size_reason"] == ""
        with Census(client), Load(client, 2) as load:
            deploy(client, "echo", "second")
            shared = "3 cores, 1 for each, are shared by second, wildlife_detector_optimized"
            ready_pids(client, 2)
            ready_pids(client, 1, "second")
            assert serving(client)["pool_size_reason"] == f"3 wished, 2 of them run: {shared}"
            assert serving(client, "second")["pool_size_reason"] == f"3 wished, 1 of them run: {shared}"
            load.wait_version(deploy(client, "echo"))
            ready_pids(client, 2)
            client.request("scale", timeout_s=ANSWER_S, deployment=DEFAULT_DEPLOYMENT_ID, pool_size=1)
            ready_pids(client, 2, "second")
            client.request("undeploy", timeout_s=ANSWER_S, deployment="second")
            client.request("scale", timeout_s=ANSWER_S, deployment=DEFAULT_DEPLOYMENT_ID, pool_size=3)
            ready_pids(client, 3)
        wait_for(lambda: status(client, "second") == {}, "the second to be gone")
        assert serving(client)["pool_size_reason"] == ""
