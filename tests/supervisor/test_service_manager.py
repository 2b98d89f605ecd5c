"""What systemd hears of an engine: ready once it serves and not before, why not, that it lives, and that it ends."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.client.admin import ask as ask_supervisor
from engine.launch.service_manager import ServiceManager
from engine.spec import DEFAULT_DEPLOYMENT_ID, ModelSource, ModelSpec
from tests.support.notify import NotifySocket, notify_socket
from tests.supervisor.engine_process import EngineProcess

WATCHDOG_S = 0.3
SPEC = ModelSpec(source=ModelSource.FACTORY, location="behaviour:echo")


@pytest.fixture(params=["a path", "an abstract name"])
def manager(request: pytest.FixtureRequest, runtime_dir: Path) -> Iterator[NotifySocket]:
    name = f"@ns-{uuid.uuid4().hex}" if request.param == "an abstract name" else f"{runtime_dir}.notify"
    with notify_socket(name) as heard:
        yield heard
    Path(name).unlink(missing_ok=True)


def service(runtime_dir: Path, manager: NotifySocket, behaviour: str) -> EngineProcess:
    variables = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": str(int(WATCHDOG_S * 1e6))}
    return EngineProcess(runtime_dir, behaviour=behaviour, variables=variables)


def test_ready_is_said_once_it_serves_and_until_then_why_not(runtime_dir: Path, manager: NotifySocket) -> None:
    with service(runtime_dir, manager, "fail_load") as engine:
        assert manager.wait_for("failed").startswith(f"STATUS={DEFAULT_DEPLOYMENT_ID} failed")
        assert "no luck in load" in manager.wait_for("failed") and "READY=1" not in manager.listen()
        ask_supervisor(
            str(runtime_dir), "deploy", timeout_s=20, deployment=DEFAULT_DEPLOYMENT_ID, spec=SPEC.to_json(), options={}
        )
        manager.wait_for("READY=1")
        manager.wait_for("2 of 2 instances")
        engine.kill_supervisor()
        manager.forget()
        engine.start()
        manager.wait_for("READY=1")  # of the successor, which has adopted what serves
        engine.stop()
        manager.wait_for("STOPPING=1")


def test_the_sign_of_life_comes_from_the_loop_alone(runtime_dir: Path) -> None:
    with notify_socket(f"{runtime_dir}.notify") as manager, service(runtime_dir, manager, "echo") as engine:
        manager.wait_for("READY=1")
        manager.forget()
        manager.wait_for("WATCHDOG=1")
        assert engine.process is not None
        engine.process.send_signal(signal.SIGSTOP)
        manager.forget()
        time.sleep(2 * WATCHDOG_S)  # nothing to wait for: it is the silence that counts
        assert len(manager.listen()) <= 1, "a process that stands still says that it lives"  # one was on its way
        engine.process.send_signal(signal.SIGCONT)
        manager.forget()
        manager.wait_for("WATCHDOG=1")
    Path(manager.name).unlink()


def test_children_do_not_speak_for_their_service(runtime_dir: Path) -> None:
    environment = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1", "HOME": "/"}
    manager = ServiceManager.taken_from(environment)
    assert environment == {"HOME": "/"} and manager.listens
    assert manager.watchdog_s == 0, "the watchdog is another process's"
    assert not manager.tell(ready=True, status="nobody hears this")


@pytest.mark.parametrize(("given", "watchdog_s"), [("3000000", 3.0), ("0", 0.0), ("soon", 0.0), ("", 0.0)])
def test_a_watchdog_of_nonsense_is_none(given: str, watchdog_s: float) -> None:
    environment = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": given, "WATCHDOG_PID": str(os.getpid())}
    assert ServiceManager.taken_from(environment).watchdog_s == watchdog_s


@pytest.mark.parametrize("name", ["", "vsock:2:1", "relative"])
def test_without_a_socket_of_this_machine_nothing_is_said(name: str) -> None:
    manager = ServiceManager.taken_from({"NOTIFY_SOCKET": name})
    assert not manager.listens and manager.tell(ready=True)


def test_a_long_reason_of_many_lines_is_one_line(runtime_dir: Path) -> None:
    with notify_socket(f"{runtime_dir}/n") as heard:
        assert ServiceManager(heard.name).tell(status="first\nREADY=1\n" + "x" * 1000)
        (line,) = heard.listen()
        assert line.startswith("STATUS=first READY=1 xxx") and len(line) < 400


def test_a_reason_that_is_no_text_costs_no_sign_of_life(runtime_dir: Path) -> None:
    """A file's name that is not UTF-8, say: without the sign its supervisor would be ended again and again."""
    with notify_socket(f"{runtime_dir}/n") as heard:
        assert ServiceManager(heard.name).tell(alive=True, status="no file /models/\udcff.pth")
        assert list(heard.listen()) == ["WATCHDOG=1", "STATUS=no file /models/?.pth"]
