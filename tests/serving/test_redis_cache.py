"""What one machine has computed another answers from Redis; and what Redis hears of it all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.workloads import WORKLOADS
from tests.serving.servers import workload_server
from tests.services.redis_server import RedisServer
from tests.support.server import ServerProcess
from tests.support.wait import wait_for

ROUTE = "/api/optimized/predict"
PREFIX = b"nightscan:cache:v1:"
HARMLESS = {b"PING", b"CLUSTER"}
(BODY,) = WORKLOADS["tiny"].bodies
SETTINGS = {"model_pool_size": 1, "model_warmup_requests": 1, "max_batch_size": 2, "workers": 1, "journal": "off"}


def stats_of(process: ServerProcess) -> dict[str, Any]:
    found: dict[str, Any] = process.fetch("GET", "/api/optimized/stats").json()
    return found


def answer_of(process: ServerProcess) -> dict[str, Any]:
    response = process.fetch("POST", ROUTE, BODY)
    assert response.status == 200, response.body
    found: dict[str, Any] = response.json()
    return found


@contextmanager
def monitored(server: RedisServer) -> Iterator[list[list[bytes]]]:
    """The words of every command that the server was given while the block ran; complete after it."""
    said: list[list[bytes]] = []
    with socket.create_connection(("127.0.0.1", server.port), timeout=20.0) as link, link.makefile("rb") as lines:
        link.sendall(b"MONITOR\r\n")
        assert lines.readline() == b"+OK\r\n"

        def listen() -> None:
            for line in lines:
                _, _, words = line.partition(b"] ")
                said.append([word.strip(b'"') for word in words.rstrip().split(b" ")])
                if said[-1][:2] == [b"ECHO", b"enough"]:
                    return

        thread = threading.Thread(target=listen)
        thread.start()
        yield said
        server.command("ECHO", "enough")
        thread.join(20.0)
        assert not thread.is_alive()


def test_another_machine_answers_from_redis_which_hears_of_our_keys_alone(tmp_path: Path) -> None:
    with RedisServer() as server, monitored(server) as said:
        settings = {**SETTINGS, "redis_url": server.url}
        with workload_server(WORKLOADS["tiny"], tmp_path, settings) as process:
            wait_for(lambda: stats_of(process)["connection_pools"]["redis"]["idle"] > 0, "a connection")
            first = answer_of(process)
            wait_for(lambda: server.command("DBSIZE") == 1, "it is stored")
        with workload_server(WORKLOADS["tiny"], tmp_path, {**settings, "cache_l1_mb": 0}) as process:
            wait_for(lambda: stats_of(process)["connection_pools"]["redis"]["idle"] > 0, "a connection")
            again = answer_of(process)
            found = stats_of(process)
        assert again["top_predictions"] == first["top_predictions"]
        assert found["cache"]["l2"]["hits"] == 1, found["cache"]
        assert not any(each.get("total_batches") for each in found["batch_processing"].values())  # nothing is computed
        (key,) = server.command("KEYS", "*")
        assert 0 < server.command("PTTL", key) <= 3_600_000
    ours = [words for words in said if words[0] in (b"SET", b"MGET")]
    assert all(key.startswith(PREFIX) for words in ours for key in words[1 : 2 if words[0] == b"SET" else None])
    assert all(b"PX" in words for words in ours if words[0] == b"SET")
    tests_own = {b"CLIENT", b"DBSIZE", b"KEYS", b"PTTL", b"ECHO"}
    assert {words[0] for words in said} - tests_own <= {b"SET", b"MGET"} | HARMLESS
