"""New connections go to the emptiest frontend, whether they come one by one or all at once."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack

import pytest

from tests.support.wait import wait_for
from tests.transport.servers import small_server

WORKERS, CLIENTS = 3, 15


@pytest.mark.parametrize("at_once", [True, False])
def test_connections_are_spread(at_once: bool) -> None:
    with small_server("bridged", "-w", str(WORKERS)) as server, ExitStack() as stack:
        wait_for(lambda: server.log.count("startup complete") == WORKERS, "all frontends serve")
        clients = []
        for _ in range(CLIENTS):
            clients.append(stack.enter_context(server.connect()))
            if not at_once:
                clients[-1].request("GET", "/")
        held = Counter(client.request("GET", "/").body for client in clients)
        assert len(held) == WORKERS and min(held.values()) >= 2, held
