"""The three ways to another release, behind nginx and under load: no request fails. What cannot be mixed says so."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine.client.admin import ask
from engine.core.lifecycle import ExitCode
from engine.spec import DEFAULT_DEPLOYMENT_ID, ModelSource, ModelSpec
from tests.conformance.nginx import Nginx, Site, running_nginx
from tests.conformance.wire import Address
from tests.services.releases import lay_out, release_of_another_layout
from tests.support.http import Connection, fetch
from tests.support.load import Answers, load
from tests.support.server import ROOT
from tests.support.service import ServiceProcess, held_socket, port_of, services
from tests.support.wait import wait_for
from tests.transport.test_engine_server import PREDICT, recording

FACTORY = "tests.transport.models:gated"
SETTINGS: dict[str, object] = {
    "model_factory": FACTORY, "model_pool_size": 1, "model_warmup_requests": 1, "workers": 2, "status_port": 0,
}  # fmt: skip
SOME = 50  # answers: enough to have met every process


class Release:
    """An engine, its frontends and their socket, as the units run them; `held` is not ended with them."""

    def __init__(self, folder: Path, held: socket.socket, tree: Path = ROOT) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.held = held
        self.engine = ServiceProcess("nightscan-engine.service", folder, SETTINGS, tree=tree)
        self.frontends = ServiceProcess("nightscan-frontend.service", folder, SETTINGS, held=held, tree=tree)

    def start(self) -> None:
        """Returns once both are ready."""
        self.engine.start(ready=False)
        self.frontends.start()
        self.engine.wait_ready()

    def stop(self) -> None:
        self.frontends.stop()
        self.engine.stop()

    def status(self) -> dict[str, Any]:
        return ask(str(self.engine.runtime_dir), "status", timeout_s=20)

    def instances(self) -> set[int]:
        (version,) = self.status()["deployments"][0]["versions"][:1]
        return {each["pid"] for each in version["instances"]}


@dataclass
class Public:
    """Where clients send their requests: nginx."""

    address: tuple[str, int]
    log: str = ""

    def connect(self) -> Connection:
        return Connection(self.address)


@contextlib.contextmanager
def behind_nginx(prefix: Path, held: socket.socket) -> Iterator[tuple[Nginx, Public]]:
    prefix.mkdir()
    site = Site("site-keeps-api.conf", clients_rate="100000r/s")
    with running_nginx(prefix, site, Address(port_of(held))) as proxy:
        yield proxy, Public(("127.0.0.1", proxy.address.port))


def more(answers: Answers) -> None:
    """Returns once some more requests have been answered."""
    before = len(answers.statuses)
    wait_for(lambda: answers.failures or len(answers.statuses) >= before + SOME, "requests are answered")


def assert_none_failed(answers: Answers) -> None:
    assert not answers.failures and set(answers.statuses) == {200}, (answers.failures, set(answers.statuses))


@pytest.fixture
def release(runtime_dir: Path) -> Iterator[Release]:
    with held_socket() as held:
        running = Release(runtime_dir / "a", held)
        with services(running.engine, running.frontends):
            running.start()
            yield running


def test_new_frontends_and_then_an_engine_of_the_same_layout(release: Release, runtime_dir: Path) -> None:
    with behind_nginx(runtime_dir / "nginx", release.held) as (_, public):
        with load(public, PREDICT, recording()) as answers:
            more(answers)
            replace_frontends(release)
            more(answers)
            release.engine.kill()
            more(answers)
            replace_engine(release)
            more(answers)
        assert_none_failed(answers)


def replace_frontends(release: Release) -> None:
    before = set(release.frontends.processes())
    release.frontends.restart()
    assert not before & set(release.frontends.processes()), "some of the old ones are left"


def replace_engine(release: Release) -> None:
    """Its supervisor is dead: the next one takes over what it finds, and then replaces that too."""
    before = living_instances(release)
    release.engine.start()
    assert release.instances() == before, "it has not taken over what it found"
    spec = ModelSpec(source=ModelSource.FACTORY, location=FACTORY)
    ask(
        str(release.engine.runtime_dir), "deploy", timeout_s=60,
        deployment=DEFAULT_DEPLOYMENT_ID, spec=spec.to_json(), options={},
    )  # fmt: skip
    assert not release.instances() & before


def test_another_layout_is_refused_beside_this_one_and_takes_over_from_a_directory_of_its_own(
    release: Release, runtime_dir: Path
) -> None:
    tree = release_of_another_layout(runtime_dir / "tree")
    with contextlib.ExitStack() as stack:
        other_socket = stack.enter_context(held_socket())
        mixed, second = Release(release.folder, other_socket, tree), Release(runtime_dir / "b", other_socket, tree)
        stack.enter_context(services(mixed.engine, mixed.frontends, second.engine, second.frontends))
        proxy, public = stack.enter_context(behind_nginx(runtime_dir / "nginx", release.held))
        with load(public, PREDICT, recording(), keep_alive=False) as answers:
            more(answers)
            refused_frontends(mixed)
            release.engine.kill()
            refused_engine(mixed)
            before = living_instances(release)
            release.engine.start()
            assert release.instances() == before, "what served was not left alone"
            more(answers)
            second.start()
            proxy.reload(Address(port_of(other_socket)))
            release.stop()
            more(answers)
        assert_none_failed(answers)
        installed_over_what_runs(second, tree)


def refused_frontends(mixed: Release) -> None:
    mixed.frontends.start(ready=False)
    answer = fetch(("127.0.0.1", port_of(mixed.held)), "POST", PREDICT, recording())
    assert answer.status == 503
    assert "lays memory out in another way" in mixed.frontends.log and "runtime_dir" in mixed.frontends.log
    mixed.frontends.stop()


def refused_engine(mixed: Release) -> None:
    mixed.engine.start(ready=False)
    assert mixed.engine.process is not None
    assert mixed.engine.process.wait(20) == ExitCode.MIXED_LAYOUTS
    assert "another runtime_dir and port" in mixed.engine.log


def installed_over_what_runs(release: Release, tree: Path) -> None:
    """An instance that is started then is of another release than its supervisor, and not of a bad model."""
    lay_out(tree, 98)
    (pid,) = release.instances()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: "two releases are mixed" in release.status()["deployments"][0]["reason"], "status says so")


def living_instances(release: Release) -> set[int]:
    return {pid for pid, command in release.engine.processes().items() if "engine.instance" in command}
