"""The pool against a real server: what it says there, what it keeps open, and who may have it."""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.clock import Deadline
from engine.config import Settings
from engine.errors import EngineClosed, InheritedByFork, PoolExhausted, StoreUnavailable
from engine.shm.process_row import ProcessRow
from engine.stores.redis_address import parsed
from engine.stores.redis_open import open_redis
from engine.stores.redis_pool import RedisPool
from tests.services.redis_server import RedisServer
from tests.stores.redis_parts import PATIENCE_S, PREFIX, Heard, fetched, l2_of, names, pool_of, stored
from tests.support.wait import wait_for

PASSWORD = "s3cr3t-pass"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(kept=True) as server:
        yield server


def refuses(pool: RedisPool) -> bool:
    """Whether it gives no connection, and says so without waiting for one."""
    try:
        with pool.acquire(PATIENCE_S):
            return False
    except PoolExhausted:
        raise
    except StoreUnavailable:
        return True


def test_what_is_stored_is_found_and_expires(server: RedisServer) -> None:
    keys = names(5)
    with pool_of(server.url) as pool:
        assert stored(pool, keys) == 5
        assert fetched(pool, [*keys, b"nightscan:cache:v1:none"]) == [b"value"] * 5 + [None]
    assert all(0 < server.command("PTTL", key) <= 60_000 for key in keys)


def test_a_unix_socket_and_a_database_are_as_good(server: RedisServer) -> None:
    with pool_of(f"unix://{server.socket_path}?db=3") as pool:
        assert stored(pool, names(1)) == 1
    assert b"db3:keys=1" in server.command("INFO", "keyspace")


def test_nothing_is_said_that_nobody_asked_for(server: RedisServer) -> None:
    server.command("CONFIG", "RESETSTAT")
    with pool_of(server.url) as pool:
        stored(pool, names(3))
        fetched(pool, names(3))
        clients = server.connections()
    assert {client["resp"] for client in clients} == {"2"}
    assert {client.get("lib-name", "") for client in clients} <= {""}
    said = {line.split(":")[0].removeprefix("cmdstat_") for line in server.facts("commandstats")}
    assert said - {"client|list", "info", "client|setname", "client|setinfo", "config|resetstat"} == {
        "ping", "cluster|slots", "set", "mget",
    }  # fmt: skip


def test_the_minimum_is_kept_and_the_share_never_passed(server: RedisServer) -> None:
    with pool_of(server.url, share=3, minimum=2) as pool:
        wait_for(lambda: pool.statistics().idle == 2, "the minimum")
        held = [pool.acquire(5.0) for _ in range(3)]
        links = [each.__enter__() for each in held]
        assert len({id(link) for link in links}) == 3
        assert len(server.connections()) == 3
        with pytest.raises(PoolExhausted), pool.acquire(0.05):
            pass
        statistics = pool.statistics()
        assert (statistics.in_use, statistics.idle, statistics.max_connections) == (3, 0, 3)
        for each in held:
            each.__exit__(None, None, None)
        assert pool.statistics().idle == 3


def test_a_share_that_shrinks_is_given_back_and_one_of_none_means_no_connection(server: RedisServer) -> None:
    shares = {"redis": 4}
    row = ProcessRow.private(shares)
    pool = RedisPool(parsed(server.url), row, minimum=4, open_s=5.0)
    pool.open()
    try:
        wait_for(lambda: len(server.connections()) == 4, "four connections")
        shares["redis"] = 1
        wait_for(lambda: len(server.connections()) == 1, "one")
        with pool.acquire(0.05) as link:
            shares["redis"] = 0
            wait_for(lambda: refuses(pool), "none is lent")
            assert pool.statistics().max_connections == 1  # which is taken back
            assert link.ask([(b"PING",)], Deadline.after_s(1.0)) == [b"PONG"]
        wait_for(lambda: server.connections() == [], "what was in use goes, too")
        assert pool.statistics().max_connections == 0
        assert refuses(pool) and not pool.usable
        shares["redis"] = 2
        wait_for(lambda: pool.usable and len(server.connections()) == 2, "it begins again")
    finally:
        pool.close()
        row.close()


def test_a_connection_that_the_server_closed_is_replaced(server: RedisServer) -> None:
    with pool_of(server.url, minimum=2) as pool:
        for client in server.connections():
            server.command("CLIENT", "KILL", "ID", client["id"])
        wait_for(lambda: pool.statistics().lost >= 2 and pool.statistics().idle == 2, "two others")
        assert pool.usable and pool.trouble == ""


def test_what_the_pool_does_is_counted_in_the_row_of_its_process(server: RedisServer) -> None:
    row = ProcessRow.private({"redis": 2})
    pool = RedisPool(parsed(server.url), row, minimum=2, open_s=5.0)
    pool.open()
    try:
        wait_for(lambda: row.get("redis.idle") == 2, "shown")
        assert row.get("redis.initialized") == 1 and row.get("redis.opened") >= 2
    finally:
        pool.close()
    assert (row.get("redis.initialized"), row.get("redis.idle"), row.get("redis.in_use")) == (0, 0, 0)
    assert row.get("redis.opened") >= 2
    row.close()


def test_after_its_end_it_is_closed(server: RedisServer) -> None:
    with pool_of(server.url) as pool:
        pass
    pool.close()
    with pytest.raises(EngineClosed), pool.acquire(0.0):
        pass
    assert server.connections() == []


def test_a_forked_child_is_refused_and_disturbs_nobody(server: RedisServer) -> None:
    with pool_of(server.url) as pool, l2_of(pool) as l2:
        heard = Heard()
        l2.lookup(b"k", heard)
        heard.wait(1)
        before = server.connections()
        child = os.fork()
        if child == 0:
            os._exit(_refused_in_child(pool, l2.lookup))
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert [client["id"] for client in server.connections()] == [client["id"] for client in before]
        assert stored(pool, names(2)) == 2
    assert pool.statistics().lost == 0


def _refused_in_child(pool: RedisPool, lookup: Callable[[bytes, Heard], None]) -> int:
    """0: every use raised InheritedByFork."""
    uses: list[Callable[[], object]] = [
        lambda: pool.acquire(0.0).__enter__(),
        lambda: pool.wait_ready(0.0),
        pool.open,
        pool.statistics,
        lambda: lookup(b"k", Heard()),
    ]
    refused = 0
    for use in uses:
        try:
            use()
        except InheritedByFork:
            refused += 1
    pool.close()
    return len(uses) - refused


def test_a_wrong_password_is_told_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    with RedisServer(password="another") as server, caplog.at_level(logging.DEBUG):
        url = f"redis://:{PASSWORD}@127.0.0.1:{server.port}"
        with pool_of(url, ready=False) as pool:
            wait_for(lambda: "credentials" in pool.trouble, "why")
            assert not pool.usable
            assert PASSWORD not in pool.trouble + repr(pool.statistics())
    assert PASSWORD not in caplog.text


def test_a_password_opens_the_door_and_a_right_that_lacks_is_told(caplog: pytest.LogCaptureFixture) -> None:
    rules = f"cache on >{PASSWORD} ~nightscan:cache:v1:* resetchannels -@all +mget +get +ping +cluster|slots"
    with RedisServer(["--user", *rules.split()]) as server:
        with pool_of(f"redis://cache:{PASSWORD}@127.0.0.1:{server.port}") as pool:
            assert fetched(pool, names(2)) == [None, None]
            assert pool.trouble == ""
            assert stored(pool, names(2)) == 0
            assert "no permissions" in pool.trouble
            assert pool.usable  # what it may, it does
            wait_for(lambda: "no permissions" in caplog.text, "one line")
    assert len([line for line in caplog.messages if "cached on this machine alone" in line]) == 1


def test_the_least_rights_of_the_manual_are_enough(server: RedisServer) -> None:
    manual = (Path(__file__).resolve().parents[2] / "frontend" / "README.md").read_text()
    (command,) = re.findall(r"```redis\n(.*)\n```", manual)
    server.command(*command.split())
    with pool_of(f"redis://nightscan:secret@127.0.0.1:{server.port}") as pool, l2_of(pool) as l2:
        heard = Heard()
        assert l2.store(b"key", b"value", 60_000)
        wait_for(lambda: l2.statistics().stored == 1, "it is stored")
        l2.lookup(b"key", heard)
        assert heard.wait(1) == [b"value"]
        assert stored(pool, [b"of another program"]) == 0
        assert "no permissions" in pool.trouble or "NOPERM" in pool.trouble
    server.command("ACL", "DELUSER", "nightscan")


def test_strange_values_at_our_keys_are_no_values(server: RedisServer) -> None:
    server.command("LPUSH", PREFIX + b"list", "element")
    with pool_of(server.url) as pool:
        stored(pool, names(1))
        assert fetched(pool, [PREFIX + b"list", *names(1)]) == [None, b"value"]
    server.command("DEL", PREFIX + b"list")


def test_a_server_that_is_no_redis_is_never_ready() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        def babble() -> None:
            while True:
                try:
                    link, _ = other.accept()
                except OSError:
                    return
                with link:
                    link.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        with pool_of(f"redis://127.0.0.1:{port}", ready=False) as pool:
            wait_for(lambda: pool.trouble, "why")
            assert not pool.usable and not pool.wait_ready(0.05)
        other.shutdown(socket.SHUT_RDWR)
        thread.join(10.0)


def test_redis_py_is_imported_only_where_redis_is_configured() -> None:
    program = (
        "import sys; from engine.config import Settings; from engine.shm.process_row import ProcessRow\n"
        "from engine.stores.redis_open import open_redis\n"
        "assert open_redis(Settings(), ProcessRow.private()) is None\n"
        "assert 'redis' not in sys.modules and 'psycopg' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60.0)


def test_what_is_configured_opens_without_waiting(server: RedisServer) -> None:
    row = ProcessRow.private({"redis": 1})
    store = open_redis(Settings(redis_url=server.url), row)
    assert store is not None
    heard = Heard()
    wait_for(lambda: store.l2.usable, "it is there")
    store.l2.lookup(b"none", heard)
    assert heard.wait(1) == [None]
    store.close()
    row.close()
