"""Orders over HTTP do what the same orders of the command line do."""

from __future__ import annotations

from pathlib import Path

from engine.spec import DEFAULT_DEPLOYMENT_ID as DEPLOYMENT
from tests.status.asking import Asking, deployment, serves
from tests.supervisor.engine_process import EngineProcess
from tests.support.wait import wait_for

READY = f'nightscan_engine_instances_ready{{deployment="{DEPLOYMENT}"}}'


def test_scale_drain_deploy_undeploy(runtime_dir: Path) -> None:
    asking = Asking(runtime_dir)
    with EngineProcess(runtime_dir):
        wait_for(asking.path.exists, "the status server")
        wait_for(lambda: serves(asking, 2), "it to serve")
        carry_out_all(asking)


def carry_out_all(asking: Asking) -> None:
    """One after the other, and what each leads to."""
    assert asking.order("/scale", deployment=DEPLOYMENT, pool_size=3).json["pool_size"] == 3
    assert serves(asking, 3)
    assert asking.order("/scale", deployment=DEPLOYMENT, pool_size=2).status == 200
    assert asking.order("/drain", deployment=DEPLOYMENT).json == {"deployment": DEPLOYMENT, "drained": True}
    assert deployment(asking)["state"] == "drained"
    assert asking.order("/drain", deployment=DEPLOYMENT, resume=True).json["drained"] is False
    said = asking.order("/deploy", deployment=DEPLOYMENT)
    assert (said.status, said.json) == (200, {"deployment": DEPLOYMENT, "version": 2})
    wait_for(lambda: serves(asking, 2), "the second version alone")
    assert READY in asking.get("/metrics").body.decode()
    assert asking.order("/undeploy", deployment=DEPLOYMENT).status == 200
    assert READY not in asking.get("/metrics").body.decode(), "nobody is alerted of what was ended in order"
    assert deployment(asking) == {}
    assert asking.order("/undeploy", deployment=DEPLOYMENT).status == 404
    assert asking.order("/deploy", deployment=DEPLOYMENT).json["version"] == 1
    wait_for(lambda: serves(asking, 2), "it to serve again")
