"""As in a container: process 1 of its own, and a /dev/shm in which nothing fits."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.support.http import ConnectionEnded, fetch
from tests.support.server import free_port
from tests.support.service import OWN_COMMAND, ServiceProcess, services
from tests.support.wait import wait_for
from tests.transport.test_engine_server import PREDICT, recording

SHM_BYTES = 64 << 10
MODEL = {"model_factory": "tests.transport.models:gated", "model_pool_size": 1, "workers": 1}
AS_CONTAINERS_DO = (
    *("unshare", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--mount", "--pid", "--fork", "--mount-proc"),
    *("sh", "-c", 'mount -t tmpfs -o size=64k tmpfs /dev/shm && exec "$@"', "sh", *OWN_COMMAND),
)


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_it_serves_as_process_1_with_64_kilobytes_of_dev_shm(runtime_dir: Path) -> None:
    address = ("127.0.0.1", free_port())
    unit = ServiceProcess(
        "nightscan.service", runtime_dir, {**MODEL, "port": address[1]}, command=AS_CONTAINERS_DO
    )

    def serves() -> bool:
        try:
            return fetch(address, "POST", PREDICT, recording()).status == 200
        except (OSError, ConnectionEnded):
            return False

    with services(unit):
        unit.start()
        assert unit.process is not None
        (master,) = children_of(unit.process.pid)
        assert "NSpid:\t%d\t1\n" % master in Path(f"/proc/{master}/status").read_text()
        small = os.statvfs(f"/proc/{master}/root/dev/shm")
        assert small.f_blocks * small.f_frsize == SHM_BYTES
        assert serves()
        for part in ("engine.instance", "engine.supervisor.keeper", "engine.supervisor "):
            victims = [pid for pid, command in unit.processes().items() if part in command]
            assert victims, f"no {part} among {unit.processes()}"
            os.kill(victims[0], signal.SIGKILL)
            wait_for(serves, f"it serves after the death of {part}")
        dead = [pid for pid in children_of(master) if ") Z " in Path(f"/proc/{pid}/stat").read_text()]
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in dead), "process 1 has buried all orphans")
        os.kill(master, signal.SIGTERM)
        assert unit.process.wait(20) == 0
