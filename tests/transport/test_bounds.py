"""What one connection, and all together, may take of a frontend: memory, the loop's time, and the time of others."""

from __future__ import annotations

import functools
import gc
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest

from frontend.server.body import Body
from frontend.server.exchange import Exchange
from frontend.server.protocol import NightScanProtocol
from frontend.server.server_log import SERVER_LOG
from frontend.server.transport_limits import TransportLimits
from frontend.server.transport_state import Receive, Send
from frontend.wsgi.bridge import Bridge
from tests.support.http import Connection, ConnectionEnded, chunked, request_bytes
from tests.support.lane_host import Host, hosted
from tests.support.wait import wait_for
from tests.transport.apps import wsgi

MB = 1_000_000
LIMIT_BYTES = 3 * MB


class Keeping:
    """A lane that keeps what it is given until the test lets it go; `/now` is answered at once, `/app` not at all."""

    def __init__(self) -> None:
        self.bodies: list[Body] = []
        self.held: list[Callable[[], None]] = []

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        raise ValueError("the application fails after its client has gone")

    def take(self, exchange: Exchange) -> bool:
        if exchange.head.path == "/app":
            return False
        exchange.collect(LIMIT_BYTES, functools.partial(self._answer, exchange))
        return True

    def _answer(self, exchange: Exchange, body: Body | None) -> None:
        if body is None:
            exchange.respond(413, [], b"too large")
        elif exchange.head.path == "/now":
            told = [exchange.arrived_ns, exchange.completed_ns]
            exchange.respond(200, [], json.dumps({"bytes": len(body), "ns": told}).encode())
        else:
            self.bodies.append(body)
            self.held.append(functools.partial(exchange.respond, 200, [], b"%d" % len(body)))


@contextmanager
def keeping(**limits: float) -> Iterator[tuple[Keeping, Host]]:
    lane = Keeping()
    given = {"longest_body_bytes": LIMIT_BYTES, **limits}
    with hosted(lane, TransportLimits().changed(**given)) as host:
        yield lane, host


@pytest.fixture(scope="module")
def plain() -> Iterator[Host]:
    """A host with the usual limits, for tests that only ask."""
    with keeping() as (_, host):
        yield host


@contextmanager
def connections(host: Host, count: int) -> Iterator[list[Connection]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Connection(host.address)) for _ in range(count)]


def post(path: str, size: int, **headers: str) -> bytes:
    return request_bytes("POST", path, b"", {"Content-Length": str(size), **headers})


# --- memory ---------------------------------------------------------------------------------------------------------


def living() -> int:
    return sum(type(thing) in (NightScanProtocol, Exchange) for thing in gc.get_objects())


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    SERVER_LOG.disabled = True  # pytest keeps what is logged, tracebacks and all
    yield
    SERVER_LOG.disabled = False
    gc.enable()


@pytest.mark.parametrize(
    "sent",
    [
        post("/now", 5) + b"whole",
        post("/now", 2 * MB) + b"x" * 1_500_000,
        post("/keep", 9) + b"completed",
        post("/app", 9) + b"some",
        post("/now", 5) + b"first" + post("/keep", 2 * MB) + b"x" * 100_000,
        b"POST /now HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
        b"GET / HTTP/1.1\r\nHos",
        b"NONSENSE\r\n\r\n",
        post("/now", 9 * MB) + b"x" * 1000,
        b"",
    ],
    ids=["answered", "half a body", "waiting", "in an application", "pipelined", "chunks", "headers", "nonsense",
         "refused", "silent"],
)  # fmt: skip
def test_a_connection_that_is_gone_leaves_nothing_to_the_collector(no_collector: None, sent: bytes) -> None:
    with keeping() as (lane, host):
        for _ in range(3):
            with Connection(host.address) as connection:
                connection.send(sent)
                wait_for(lambda: bool(host.state.connections), "connected")
            wait_for(lambda: not host.state.connections and not host.state.tasks, "gone")
        lane.held.clear()
        lane.bodies.clear()
        wait_for(lambda: living() == 0, "nothing of ours left")
        assert host.state.inflight.used_bytes == 0


@pytest.mark.parametrize("path", ["/", "/boom", "/boom-late", "/stream?file=/dev/null/never", "/echo"])
def test_a_request_through_the_bridge_leaves_nothing_to_the_collector(no_collector: None, path: str) -> None:
    bridge = Bridge(wsgi, threads=2)
    with closing(bridge), hosted(bridge) as host:
        for _ in range(3):
            with Connection(host.address) as connection:
                connection.send(request_bytes("POST", path, b"x" * 1000))
                connection.socket.recv(1000)
            wait_for(lambda: not host.state.connections and not host.state.tasks, "gone")
        wait_for(lambda: living() == 0, "nothing of ours left", timeout_s=5)


def test_a_body_counts_until_the_last_who_holds_it_lets_go() -> None:
    with keeping() as (lane, host):
        with Connection(host.address) as connection:
            connection.send(post("/keep", 2 * MB) + b"x" * 2 * MB)
            wait_for(lambda: bool(lane.held), "the lane has it")
            assert host.state.inflight.used_bytes == 2 * MB
        wait_for(lambda: not host.state.connections, "the client has gone")
        assert host.state.inflight.used_bytes == 2 * MB  # whoever decodes it is not done
        lane.held.clear()
        lane.bodies.clear()
        wait_for(lambda: host.state.inflight.used_bytes == 0, "counted off")


def test_what_is_declared_and_not_sent_takes_nothing() -> None:
    with keeping() as (_, host), connections(host, 50) as liars:
        for liar in liars:
            liar.send(post("/now", 3 * MB) + b"x")
        wait_for(lambda: host.state.inflight.used_bytes == 50, "all of them counted")
        with Connection(host.address) as honest:
            assert honest.request("POST", "/now", b"x" * 2 * MB).json()["bytes"] == 2 * MB


def test_uploads_beyond_what_is_free_wait_and_are_all_answered() -> None:
    clients = 12
    with keeping(max_inflight_bytes=12 * MB, inflight_wait_s=60) as (_, host), connections(host, clients) as waiting:
        for client in waiting:
            client.send(post("/now", 3 * MB) + b"x" * MB)
        wait_for(lambda: host.state.inflight.waiting > 0, "somebody waits")
        most_bytes = 0
        for client in waiting:
            client.socket.setblocking(False)
        left = {client: memoryview(b"x" * 2 * MB) for client in waiting}
        give_up_at = time.monotonic() + 20
        while left and time.monotonic() < give_up_at:
            most_bytes = max(most_bytes, host.state.inflight.used_bytes)
            for client in list(left):
                try:
                    left[client] = left[client][client.socket.send(left[client]):]
                except BlockingIOError:
                    continue
                if not left[client]:
                    del left[client]
        for client in waiting:
            client.socket.settimeout(20)
            assert client.read_response().json()["bytes"] == 3 * MB
        assert 6 * MB < most_bytes <= 15 * MB  # they wait from 6; a quarter more for what was read before


def test_an_upload_that_waits_too_long_for_memory_is_told_to_come_again() -> None:
    with keeping(max_inflight_bytes=4 * MB, inflight_wait_s=0.2) as (lane, host), connections(host, 3) as clients:
        first, second, third = clients
        first.send(post("/keep", 3 * MB) + b"x" * 3 * MB)
        wait_for(lambda: bool(lane.held), "the memory is taken")
        second.send(post("/now", 3 * MB) + b"x" * MB)
        refused = second.read_response()
        assert (refused.status, refused.headers["retry-after"], refused.closes) == (503, "5", False)
        assert third.request("POST", "/now", b"a short one").json()["bytes"] == 11  # waits for nobody
        second.send(b"x" * 2 * MB)  # the rest is read into nothing, so that the connection can go on
        assert second.request("POST", "/now", b"next").json()["bytes"] == 4
        lane.bodies.clear()
        host.state.loop.call_soon_threadsafe(lane.held.pop())
        assert first.read_response().status == 200


def test_pieces_of_two_bytes_do_not_cost_many_times_their_size() -> None:
    with keeping() as (lane, host), Connection(host.address) as connection:
        head = b"POST /keep HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.send(head + b"2\r\nab\r\n" * 100_000 + b"0\r\n\r\n")
        wait_for(lambda: bool(lane.bodies), "the body is whole")
        assert lane.bodies[0] == b"ab" * 100_000
        assert isinstance(lane.bodies[0], bytearray)  # grown in place, and never a list of pieces


@pytest.mark.parametrize("path", ["/keep", "/app"])
def test_pipelined_requests_wait_in_the_clients_own_memory(path: str) -> None:
    with keeping() as (_, host), Connection(host.address) as connection:
        connection.socket.setblocking(False)
        requests = post(path, 1) + b"x"
        flood, sent = requests * 100_000, 0
        idle_since = time.monotonic()
        while time.monotonic() - idle_since < 0.5:
            try:
                sent += connection.socket.send(flood[sent:sent + 1_000_000])
                idle_since = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
        gc.collect()  # of other tests
        exchanges = sum(type(thing) is Exchange for thing in gc.get_objects())
        assert 1 < exchanges <= 17 and sent < len(flood)


# --- time -----------------------------------------------------------------------------------------------------------


FLOODS = {
    "pipelined": post("/now", 1) * 40_000,
    "small chunks": b"POST /now HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 400_000,
    "empty lines": b"\r\n" * 30_000,
    "fields": b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 16_000,
    "a query": b"GET /?" + b"%41&" * 16_000,
    "blank lines in chunks": (
        b"POST /now HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"20000\r\n" + b"\r\n\r\n" * 32_768
    ),
}


@pytest.mark.parametrize("name", FLOODS)
def test_no_input_holds_the_loop(name: str) -> None:
    with keeping() as (_, host), connections(host, 4) as senders, Connection(host.address) as other:
        for sender in senders:
            sender.socket.setblocking(False)
        left = {sender: memoryview(FLOODS[name]) for sender in senders}
        longest_s, give_up_at = 0.0, time.monotonic() + 1.0
        while left and time.monotonic() < give_up_at:
            for sender in list(left):
                try:
                    left[sender] = left[sender][sender.socket.send(left[sender]):]
                except BlockingIOError:
                    pass
                except OSError:  # refused
                    del left[sender]
                    continue
                if not left[sender]:
                    del left[sender]
            asked_at = time.monotonic()
            assert other.request("GET", "/now").status == 200
            longest_s = max(longest_s, time.monotonic() - asked_at)
        assert longest_s < 2.0  # some milliseconds; generous, since this test's own threads stand in the way


def test_one_byte_now_and_then_does_not_hold_a_connection() -> None:
    with keeping(body_idle_timeout_s=0.5) as (_, host), Connection(host.address, timeout_s=0.1) as connection:
        connection.send(post("/now", 100_000))

        def answered() -> bool:
            connection.send(b"x")
            try:
                return connection.read_response().status == 408
            except TimeoutError:
                return False

        wait_for(answered, "408")


def test_a_body_that_is_slow_but_fast_enough_arrives() -> None:
    with keeping(body_idle_timeout_s=0.3) as (_, host), Connection(host.address) as connection:
        connection.send(post("/now", 2000))
        for _ in range(20):
            connection.send(b"x" * 100)
            time.sleep(0.05)
        assert connection.read_response().json()["bytes"] == 2000


def test_what_a_connection_was_silent_before_a_request_is_not_held_against_its_body() -> None:
    with keeping(body_idle_timeout_s=0.4, min_body_bytes_per_s=1000) as (_, host), Connection(host.address) as slow:
        assert slow.request("POST", "/now", b"x").status == 200
        time.sleep(1.5)
        slow.send(post("/now", 1000))
        for _ in range(4):
            slow.send(b"x" * 250)
            time.sleep(0.1)
        assert slow.read_response().status == 200


def test_a_client_that_does_not_read_its_answer_is_cut_off() -> None:
    async def endless(scope: Any, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
            if not host.state.connections:
                return

    with hosted(endless, TransportLimits().changed(body_idle_timeout_s=0.5)) as host:
        with Connection(host.address) as connection:
            connection.send(request_bytes("GET", "/"))
            wait_for(lambda: not host.state.connections, "cut off")


def test_a_client_that_reads_slowly_gets_its_last_answer_whole() -> None:
    size = 20 * MB

    async def last(scope: Any, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"%d" % size), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"x" * size})

    limits = TransportLimits().changed(linger_s=0.1)
    with hosted(last, limits) as host, Connection(host.address) as connection:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.send(request_bytes("GET", "/"))
        received = b""
        for _ in range(8):
            received += connection.socket.recv(65_536)
            time.sleep(0.05)
        received += connection.read_until_close()
        assert received.count(b"x") == size


def test_a_client_that_does_not_read_gets_no_more_answers() -> None:
    with keeping(body_idle_timeout_s=30) as (_, host), Connection(host.address) as connection:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.socket.setblocking(False)
        flood, sent, idle_since = request_bytes("GET", "/now") * 300_000, 0, time.monotonic()
        while time.monotonic() - idle_since < 0.5 and sent < len(flood):
            try:
                sent += connection.socket.send(flood[sent:sent + 500_000])
                idle_since = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
        assert sent < len(flood)
        [held] = host.state.connections
        assert held.transport.get_write_buffer_size() < 200_000


# --- what is refused, and when --------------------------------------------------------------------------------------


def test_a_body_too_large_is_refused_before_it_comes(plain: Host) -> None:
    with Connection(plain.address) as connection:
        connection.send(post("/now", 4 * MB) + b"x")  # and waits
        response = connection.read_response()
        assert (response.status, response.closes) == (413, False)
        connection.send(b"x" * (4 * MB - 1))
        assert connection.request("POST", "/now", b"next").json()["bytes"] == 4


def test_a_body_in_chunks_is_refused_when_it_becomes_too_large(plain: Host) -> None:
    with Connection(plain.address) as connection:
        connection.send(b"POST /now HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(31):
            connection.send(chunked(b"x" * 100_000)[:-5])
        response = connection.read_response()
        assert (response.status, response.closes) == (413, False)
        connection.send(b"0\r\n\r\n")
        assert connection.request("POST", "/now", b"next").json()["bytes"] == 4


def test_a_body_longer_than_anybody_will_read_ends_its_connection_with_its_refusal(plain: Host) -> None:
    with Connection(plain.address) as connection:
        connection.send(post("/now", 10**12) + b"x")
        response = connection.read_response()
        assert (response.status, response.closes) == (413, True)


def test_a_sender_that_stops_after_its_refusal_is_not_waited_for() -> None:
    with keeping(body_idle_timeout_s=0.3) as (_, host), Connection(host.address) as connection:
        connection.send(post("/now", 4 * MB) + b"x")
        assert connection.read_response().status == 413
        assert connection.read_until_close() == b""  # and no second answer


CHUNKED = b"POST /now HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "between",
    [b"0\r\nX-Endless: " + b"a" * 400_000, b"1;a=" + b"b" * 400_000, b"0\r\n" + b"X-Many: b\r\n" * 200,
     b"1;" + b"e" * 60_000 + b"\r\na\r\n" + b"1;" + b"e" * 60_000 + b"\r\na\r\n" + b"1;" + b"e" * 200_000],
    ids=["a trailer", "an extension", "many trailers", "extensions"],
)  # fmt: skip
def test_what_stands_between_the_chunks_is_bounded(plain: Host, between: bytes) -> None:
    with Connection(plain.address) as connection:
        with pytest.raises((ConnectionEnded, OSError)):
            connection.send(CHUNKED + between)
            assert connection.read_response().status == 431
            connection.read_response()


def test_trailers_reach_nobody() -> None:
    seen: list[Any] = []

    async def application(scope: Any, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        seen.append(dict(scope["headers"]))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with hosted(application) as host, Connection(host.address) as connection:
        for _ in range(2):  # nor the next request
            connection.send(CHUNKED + b"2\r\nab\r\n0\r\nX-Remote-User: admin\r\nAuthorization: Bearer t\r\n\r\n")
            assert connection.read_response().status == 204
        assert connection.request("GET", "/").status == 204
    assert [set(headers) for headers in seen] == [{b"host", b"transfer-encoding"}] * 2 + [{b"host"}]


@pytest.mark.parametrize(
    "request_head, status",
    [
        ("GET / HTTP/1.1\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n", 400),
        ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a, b\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a/b\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n", 400),
        ("GET / HTTP/2.0\r\nHost: a\r\n", 505),
        ("GET /\r\n", 505),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n", 501),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n", 400),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n", 400),
    ],
)
def test_a_head_that_two_readers_could_read_differently_is_refused(plain: Host, request_head: str, status: int) -> None:
    with Connection(plain.address) as connection:
        connection.send(request_head.encode() + b"\r\n")
        response = connection.read_response()
        assert (response.status, response.closes) == (status, True)
        assert connection.read_until_close() == b""


@pytest.mark.parametrize("name", ["a", "a.example:8001", "[::1]:80", "192.0.2.1", "", "x_y.local", "%41"])
def test_a_host_is_taken_as_it_comes(plain: Host, name: str) -> None:
    with Connection(plain.address) as connection:
        assert connection.request("GET", "/now", headers={"Host": name}).status == 200


def test_http_1_0_needs_no_host(plain: Host) -> None:
    with Connection(plain.address) as connection:
        connection.send(b"GET /now HTTP/1.0\r\n\r\n")
        assert connection.read_response().status == 200


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_request_is_the_same_wherever_it_is_cut(plain: Host, cut: int) -> None:
    chunks = CHUNKED + b"5\r\n\r\n\r\nx\r\n0\r\n\r\n"
    whole = post("/now", 8) + b"a\r\n\r\nb\r\n" + chunks + request_bytes("GET", "/now")
    with Connection(plain.address) as connection:
        for start in range(0, len(whole), cut):
            connection.send(whole[start:start + cut])
        assert [connection.read_response().json()["bytes"] for _ in range(3)] == [8, 5, 0]


def test_both_moments_of_a_request_are_told(plain: Host) -> None:
    with Connection(plain.address) as connection:
        sent_ns = time.monotonic_ns()
        connection.send(post("/now", 2))
        time.sleep(0.05)
        connection.send(b"ab")
        arrived_ns, completed_ns = connection.read_response().json()["ns"]
        assert sent_ns < arrived_ns < completed_ns - 40_000_000 < time.monotonic_ns()
