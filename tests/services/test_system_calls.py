"""What the units' filter of system calls would forbid: nothing that the processes of a service do."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

from engine.client.admin import ask
from engine.spec import DEFAULT_DEPLOYMENT_ID, ModelSource, ModelSpec
from tests.support.http import fetch
from tests.support.server import free_port
from tests.support.service import OWN_COMMAND, ServiceProcess, services
from tests.transport.test_engine_server import PREDICT, recording

SPEC = ModelSpec(source=ModelSource.FACTORY, location="tests.transport.models:gated")


@functools.cache
def group(name: str) -> frozenset[str]:
    """The calls of a group of systemd's, with those of the groups in it."""
    done = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
    lines = {line.strip() for line in done.stdout.splitlines()[1:]} - {""}
    calls = frozenset(line for line in lines if line[0] not in "#@")
    return calls.union(*(group(line) for line in lines if line.startswith("@")))


def seen(summary: Path) -> set[str]:
    """The calls in a summary of strace's: the last column of its table."""
    lines = [line.split() for line in summary.read_text().splitlines()]
    return {line[-1] for line in lines if line and line[0].replace(".", "").isdigit()} - {"total"}


def test_nothing_is_called_that_the_filter_forbids(runtime_dir: Path) -> None:
    summary, port = runtime_dir / "calls", free_port()
    # A tracer of its own process, so that the service is our child and is ended as always.
    traced = ("strace", "-D", "-f", "-c", "-o", str(summary), *OWN_COMMAND)
    unit = ServiceProcess("nightscan.service", runtime_dir, {"port": port, "workers": 1}, command=traced)
    with services(unit):
        unit.start()
        address, runtime = ("127.0.0.1", port), str(unit.runtime_dir)
        assert fetch(address, "POST", PREDICT, recording()).status == 200
        deployment = {"deployment": DEFAULT_DEPLOYMENT_ID}
        ask(runtime, "deploy", timeout_s=100, **deployment, spec=SPEC.to_json(), options={"pool_size": 1})
        assert fetch(address, "POST", PREDICT, recording()).status == 200
        ask(runtime, "scale", timeout_s=100, **deployment, pool_size=2)
    calls = seen(summary)
    assert {"execve", "memfd_create", "pidfd_open", "eventfd2", "epoll_wait", "accept4"} <= calls, "not all was traced"
    assert not calls - group("@system-service")
