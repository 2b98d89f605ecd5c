"""The server by itself: a loop that stands still, those who keep silent, ports that are another's."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from engine.clock import NS_PER_S, now_ns
from engine.config import Settings
from engine.supervisor.loop import Loop
from engine.supervisor.web.access import Access
from engine.supervisor.web.answer import StatusAnswer
from engine.supervisor.web.connection import StatusConnection
from engine.supervisor.web.counted import CountedMachine
from engine.supervisor.web.door import PortDoor
from engine.supervisor.web.orders import MOST_AT_ONCE, Reply
from engine.supervisor.web.refusal import StatusRefusal
from engine.supervisor.web.request import StatusRequest
from engine.supervisor.web.server import MOST_CONNECTIONS, MOST_WAITING, StatusServer
from engine.supervisor.web.snapshot import STALLED_S, Snapshot
from tests.status.asking import Asking
from tests.support.server import free_port
from tests.support.wait import wait_for

STATE: dict[str, Any] = {
    "supervisor": {"pid": 1},
    "health": {"state": "ok", "troubles": []},
    "stores": {"reasons": []},
    "frontends": [],
    "deployments": [],
}


class Desk:
    """What a supervisor's loop would be given."""

    def __init__(self) -> None:
        self.given: list[tuple[dict[str, Any], Reply]] = []
        self.takes = True

    def give(self, fields: dict[str, Any], reply: Reply) -> bool:
        if self.takes:
            self.given.append((fields, reply))
        return self.takes


@contextmanager
def served(runtime_dir: Path, desk: Desk | None = None, **settings: Any) -> Iterator[tuple[Asking, StatusServer]]:
    server = StatusServer(
        Settings(runtime_dir=str(runtime_dir), **{"status_port": 0, **settings}), runtime_dir, (desk or Desk()).give
    )
    try:
        asking = Asking(runtime_dir)
        wait_for(asking.path.exists, "the socket")
        yield asking, server
    finally:
        assert server.close()
    assert not list(runtime_dir.iterdir())  # nothing of it is left


def snapshot(age_s: float = 0.0, *, text: str = "", counted: CountedMachine | None = None) -> Snapshot:
    state = {**STATE, "text": text}
    return Snapshot(now_ns() - int(age_s * NS_PER_S), 0.0, state, counted or CountedMachine({}), None)


def test_before_the_first_snapshot_it_says_that_it_starts(runtime_dir: Path) -> None:
    with served(runtime_dir) as (asking, _):
        for path in ("/healthz", "/status", "/metrics"):
            said = asking.get(path)
            assert (said.status, said.json["code"]) == (503, "STARTING")


def test_a_loop_that_stands_still_is_told_and_gets_no_orders(runtime_dir: Path) -> None:
    desk = Desk()
    with served(runtime_dir, desk) as (asking, server):
        server.publish(snapshot(), ())
        assert asking.get("/healthz").status == 200
        server.publish(snapshot(age_s=STALLED_S + 0.01), ())
        said = asking.get("/healthz")
        assert (said.status, said.json["status"]) == (503, "stalled")
        assert said.json["age_s"] > STALLED_S
        assert asking.get("/status").json["age_s"] > STALLED_S  # what is known can still be seen
        assert asking.order("/undeploy", deployment="d").json["code"] == "STALLED"
        assert not desk.given


def test_those_who_keep_silent_make_room_for_others(runtime_dir: Path) -> None:
    with served(runtime_dir) as (asking, server), ExitStack() as stack:
        server.publish(snapshot(), ())
        silent = [stack.enter_context(asking.connect()) for _ in range(MOST_CONNECTIONS + 50)]
        for each in silent[::2]:
            each.sendall(b"GET /healthz HT")  # and no more
        assert asking.get("/healthz").status == 200
        assert silent[1].recv(1) == b""  # it was among the first to come


def test_orders_wait_for_the_loop_and_no_more_of_them_than_may(runtime_dir: Path) -> None:
    desk = Desk()
    body = b'{"deployment": "d"}'
    with served(runtime_dir, desk) as (asking, server), ExitStack() as stack:
        server.publish(snapshot(), ())
        head = f"POST /undeploy HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {asking.token}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        waiting = [stack.enter_context(asking.connect()) for _ in range(MOST_AT_ONCE)]
        for each in waiting:
            each.sendall(head.encode() + body)
        wait_for(lambda: len(desk.given) == MOST_AT_ONCE, "all orders to be handed over")
        assert asking.order("/undeploy", deployment="d").json["code"] == "OVERLOADED"
        waiting.pop().close()  # its order is the loop's all the same
        for _, reply in desk.given:
            reply({"type": "result", "id": None, "ok": True, "deployment": "d"})
        for each in waiting:
            assert each.recv(65_536).startswith(b"HTTP/1.1 200")
        desk.takes = False
        wait_for(lambda: asking.order("/undeploy", deployment="d").json["code"] == "CLOSING", "room for an order")


def test_a_port_that_is_another_s_is_a_warning_until_it_is_free(caplog: pytest.LogCaptureFixture) -> None:
    port, loop = free_port(), Loop()
    taken: list[socket.socket] = []
    first, second = (PortDoor(loop, taken.append, bool, "127.0.0.1", port) for _ in range(2))
    try:
        first.keep()
        for _ in range(3):
            second.keep()
        assert (first.address, second.address) == (f"127.0.0.1:{port}", "")
        warnings = [record for record in caplog.records if record.levelname == "WARNING"]
        assert len(warnings) == 1 and "another process has the port" in warnings[0].message
        first.close()
        second.keep()
        assert second.address == f"127.0.0.1:{port}"
        with socket.create_connection(("127.0.0.1", port)):
            loop.run_once(1.0)
        assert len(taken) == 1
    finally:
        for connected in taken:
            connected.close()
        first.close()
        second.close()
        loop.close()


def test_a_host_of_several_addresses_is_listened_at_where_that_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    port, loop = free_port(), Loop()
    ours = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port)) for host in ("192.0.2.1", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: ours)  # as on a machine without the first of them
    door = PortDoor(loop, socket.socket.close, bool, "localhost", port)
    try:
        door.keep()
        assert door.address == f"localhost:{port}" and not door.trouble
        with socket.create_connection(("127.0.0.1", port)):
            pass
    finally:
        door.close()
        loop.close()


def test_a_host_whose_name_servers_are_silent_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    port, loop, given_up = free_port(), Loop(), threading.Event()
    resolve, asked = socket.getaddrinfo, list[str]()

    def silent(host: str, *arguments: Any, **options: Any) -> Any:
        if options["flags"] & socket.AI_NUMERICHOST:
            return resolve(host, *arguments, **options)
        asked.append(host)
        given_up.wait(5)
        raise socket.gaierror(socket.EAI_AGAIN, "no name server answers")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    door = PortDoor(loop, socket.socket.close, bool, "page.invalid", port)
    try:
        for _ in range(3):
            door.keep()
        wait_for(lambda: asked == ["page.invalid"], "the name to be asked for, once")
        given_up.set()
        while not door.trouble:
            loop.run_once(10.0)
        assert "no name server answers" in door.trouble and not door.address
    finally:
        given_up.set()
        door.close()
        loop.close()


def test_without_a_descriptor_left_whoever_is_silent_gives_his_up() -> None:
    """Ten connections that say nothing and a limit of two more: the last one that comes is taken all the same."""
    loop, taken, port = Loop(), list[socket.socket](), free_port()

    def makes_room() -> bool:
        taken.pop(0).close()
        return True

    door = PortDoor(loop, taken.append, makes_room, "127.0.0.1", port)
    door.keep()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        stack.callback(loop.close)
        stack.callback(door.close)
        coming = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(10)]
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        highest = max(map(int, os.listdir("/proc/self/fd")))
        for _ in range(highest - len(os.listdir("/proc/self/fd")) + 2):
            stack.callback(os.close, os.open(os.devnull, os.O_RDONLY))  # there are no free numbers below
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 2, before[1]))
        loop.run_once(1.0)
        for each in taken:
            stack.enter_context(each)
        assert not loop.guard.health.degraded
        assert 0 < len(taken) < 10 and taken[-1].getpeername() == coming[-1].getsockname()


def test_of_what_is_not_taken_little_is_kept() -> None:
    """Eight programs that do not read would else take minutes to be found out, and megabytes of the kernel each."""
    loop = Loop()
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as deaf:
        deaf.connect(listening.getsockname())
        connected, _ = listening.accept()
        connection = StatusConnection(loop, connected, _Nobody())
        pushed = 0
        while connection.push(b"x" * 16_384):
            pushed += 16_384
            assert pushed < 1_000_000
        connection.close()
        loop.close()


def test_few_answers_that_nobody_takes_are_kept(runtime_dir: Path) -> None:
    """Each of them is as long as the state is; the last one to come is kept."""
    with served(runtime_dir) as (asking, server), ExitStack() as stack:
        server.publish(snapshot(text="x" * 400_000), ())
        deaf = []
        for _ in range(MOST_WAITING + 8):
            deaf.append(stack.enter_context(asking.connect()))
            deaf[-1].sendall(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert deaf[-1].recv(12) == b"HTTP/1.1 200"
        assert _rest(deaf[-1]) > 400_000 > _rest(deaf[0])
        assert asking.get("/healthz").status == 200


def test_who_has_said_that_nothing_more_will_be_asked_is_answered(runtime_dir: Path) -> None:
    """As `nc -N` and others do: a long answer is told to its end, and what came of an order too."""
    desk = Desk()
    with served(runtime_dir, desk) as (asking, server), ExitStack() as stack:
        server.publish(snapshot(text="x" * 2_000_000), ())
        looks, orders, gone = (stack.enter_context(asking.connect()) for _ in range(3))
        looks.sendall(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        looks.shutdown(socket.SHUT_WR)
        assert _rest(looks) > 2_000_000
        head = f"POST /undeploy HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {asking.token}\r\n"
        head += 'Content-Type: application/json\r\nContent-Length: 19\r\n\r\n{"deployment": "d"}'
        for each in (orders, gone):
            each.sendall(head.encode())
        wait_for(lambda: len(desk.given) == 2, "both orders to be handed over")
        orders.shutdown(socket.SHUT_WR)
        gone.close()
        assert asking.get("/healthz").status == 200
        for _, reply in desk.given:
            reply({"type": "result", "id": None, "ok": True, "deployment": "d"})
        assert orders.recv(12) == b"HTTP/1.1 200"
        wait_for(lambda: not server._connections, "all of them to be closed")


def _rest(connection: socket.socket) -> int:
    """How many bytes come until none do any more, or it ends."""
    count = 0
    connection.settimeout(0.3)
    with contextlib.suppress(TimeoutError, ConnectionError):
        while piece := connection.recv(65_536):
            count += len(piece)
    return count


def test_what_is_asked_at_the_same_moment_is_found_out_once(runtime_dir: Path) -> None:
    asked, counted = 20, _Counted({})
    with served(runtime_dir) as (asking, server), ExitStack() as stack:
        server.publish(snapshot(counted=counted), ())
        ready = threading.Event()
        held = stack.enter_context(asking.connect())
        held.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert held.recv(12) == b"HTTP/1.1 200"
        connections = [stack.enter_context(asking.connect()) for _ in range(asked)]
        server._loop.call_soon_threadsafe(lambda: ready.wait(20))
        for each in connections:
            each.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        ready.set()
        assert {each.recv(12) for each in connections} == {b"HTTP/1.1 200"}
        assert 0 < counted.looks < asked
        before = counted.looks
        assert asking.get("/metrics").status == 200
        assert counted.looks == before + 1, "whoever asks later gets later figures"


class _Counted(CountedMachine):
    """Nothing, and how often it was looked at."""

    looks = 0

    def known_deployments(self) -> list[str]:
        object.__setattr__(self, "looks", self.looks + 1)
        return []


class _Nobody:
    def check(self, request: StatusRequest, connection: StatusConnection) -> None: ...

    def answer(self, request: StatusRequest, connection: StatusConnection) -> StatusAnswer | None: ...

    def waits(self) -> None: ...

    def closed(self, connection: StatusConnection) -> None: ...


@pytest.mark.parametrize(
    ("host", "reached", "may"),
    [
        ("192.0.2.2", "::ffff:192.0.2.2", True),  # of a socket for addresses of both kinds
        ("192.0.2.3", "::ffff:192.0.2.2", False),
        ("[fd00:0:0::2]:8002", "fd00::2", True),
        ("[fd00::3]", "fd00::2", False),
        ("fd00.example", "fd00::2", False),
        ("192.0.2.2", "", False),
    ],
)
def test_an_address_is_the_same_however_it_is_spelt(host: str, reached: str, may: bool) -> None:
    request = StatusRequest(method="GET", headers={"host": host})
    with contextlib.nullcontext() if may else pytest.raises(StatusRefusal):
        Access("token", ()).check(request, reached)


def test_nothing_is_put_into_a_folder_of_somebody_else(runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which takes the place of ours, once a cleaner of /tmp has removed that. At its port it answers all the same."""
    somebody = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: somebody)
    port = free_port()
    settings = Settings(runtime_dir=str(runtime_dir), status_port=port)
    server = StatusServer(settings, runtime_dir, Desk().give)
    try:
        wait_for(lambda: server.port.address, "it to listen")
        wait_for(lambda: server._looks > 1, "a look at the folder")
        assert not list(runtime_dir.iterdir())
        with socket.create_connection(("127.0.0.1", port)):
            pass
    finally:
        assert server.close()


@pytest.mark.parametrize("content", ["", "short\n", "a" * 43, "a" * 42 + "/\n", "\0" * 44])
def test_a_token_that_nobody_here_made_is_replaced(runtime_dir: Path, content: str) -> None:
    (runtime_dir / "admin.token").write_text(content)
    (runtime_dir / "admin.token").chmod(0o600)
    with served(runtime_dir) as (asking, _):
        assert len(asking.token) == 43 and asking.token not in content


def test_a_token_is_kept_by_a_successor_unless_others_could_read_it(runtime_dir: Path) -> None:
    file, value = runtime_dir / "admin.token", "A-z_0" * 8 + "xyz"
    for mode, kept in ((0o600, True), (0o640, False), (0o604, False)):
        file.write_text(value + "\n")
        file.chmod(mode)
        with served(runtime_dir) as (asking, _):
            assert (asking.token == value) is kept
            assert file.stat().st_mode & 0o777 == 0o600
