"""More clients than lanes: whoever is one too many is told so."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from engine.errors import NotReady
from tests.supervisor.engine_process import EngineProcess, ask, deploy, serving, wait_serving
from tests.support.wait import wait_for


def test_a_client_beyond_the_lanes_is_told_who_has_them(engine: EngineProcess) -> None:
    """It does not hang without a word: its error, the log and status name the owners; a lane that is freed is its."""
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(engine.client())
        wait_serving(first)
        lanes = serving(first)["lanes"]["total"]
        for _ in range(lanes - 2):
            stack.enter_context(engine.client())
        last = contextlib.ExitStack()
        last.enter_context(engine.client())
        told = rf"all {lanes} lanes are taken by pids {os.getpid()}; raise `workers`"
        with pytest.raises(NotReady, match=told), engine.client(wait_s=1.0):
            pass
        wait_for(lambda: serving(first)["lanes"]["waiting_pids"] == [], "the one that gave up to be forgotten")
        last.close()
        with engine.client() as another:
            assert ask(another, 1.0)[2] == 1.0


def test_a_request_of_a_client_without_a_lane_says_why(runtime_dir: Path) -> None:
    """All attached before anything was deployed, so that nobody had to wait then."""
    with EngineProcess(runtime_dir, enabled="false") as engine, contextlib.ExitStack() as stack:
        lanes = 2 * engine.settings.workers + 4
        clients = [stack.enter_context(engine.client()) for _ in range(lanes + 1)]
        deploy(clients[0], "echo", "second")
        wait_for(lambda: serving(clients[0], "second")["lanes"]["waiting_pids"] == [os.getpid()], "one to be without")
        wait_for(lambda: clients[-1].state("second") == "ready", "everybody to know of it")
        with pytest.raises(NotReady, match="no lane for this process: all .* raise `workers`"):
            ask(clients[-1], 1.0, "second")
        assert ask(clients[0], 1.0, "second")[2] == 1.0
