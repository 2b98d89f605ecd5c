"""What one connection may do: bounds on headers and pauses, refusals that arrive, framing, pipelining."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterator

import pytest

from tests.support.http import Connection, ConnectionEnded, chunked, request_bytes
from tests.support.server import ServerProcess
from tests.support.wait import wait_for
from tests.transport.servers import small_server


@pytest.fixture(scope="module")
def short() -> Iterator[ServerProcess]:
    with small_server("short", header_timeout_s=1, body_idle_timeout_s=1, max_upload_bytes=2_000_000) as server:
        yield server


def test_a_body_arrives_whole_however_it_is_cut(short: ServerProcess) -> None:
    body = bytes(range(256)) * 3000
    head = request_bytes("POST", "/", b"", {"Content-Length": str(len(body))})
    for cut in (1, 70_000, 300_000, len(body) - 1):
        with short.connect() as connection:
            connection.send(head + body[:cut])
            connection.send(body[cut:])
            answer = connection.read_response().json()
        assert (answer["bytes"], answer["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())


def test_a_chunked_body_arrives_whole(short: ServerProcess) -> None:
    with short.connect() as connection:
        response = connection.request("POST", "/", chunked(b"a" * 5, b"b" * 100_000), {"Transfer-Encoding": "chunked"})
    assert response.json()["bytes"] == 100_005


def test_a_connection_serves_many_requests(short: ServerProcess) -> None:
    with short.connect() as connection:
        for size in (0, 1, 200_000, 3):
            response = connection.request("POST", "/", b"x" * size)
            assert response.json()["bytes"] == size and not response.closes
            assert "date" in response.headers


def test_pipelined_requests_are_answered_in_order(short: ServerProcess) -> None:
    with short.connect() as connection:
        connection.send(b"".join(request_bytes("POST", "/", b"x" * size) for size in (7, 100_000, 9)))
        assert [connection.read_response().json()["bytes"] for _ in range(3)] == [7, 100_000, 9]


def test_many_pipelined_requests_do_not_pile_up_calls(short: ServerProcess) -> None:
    requests = 3000  # three times the interpreter's limit on nested calls
    with short.connect() as connection:
        connection.send(request_bytes("POST", "/", b"x") * requests)
        assert [connection.read_response().json()["bytes"] for _ in range(requests)] == [1] * requests


@pytest.mark.parametrize("path", ["/boom", "/later-boom"])
def test_a_lane_that_fails_answers_500_and_harms_nobody_else(short: ServerProcess, path: str) -> None:
    with short.connect() as connection, short.connect() as other:
        response = connection.request("POST", path, b"x")
        assert (response.status, response.json()["code"], response.closes) == (500, "INTERNAL", True)
        assert other.request("POST", "/", b"four").json()["bytes"] == 4


@pytest.mark.parametrize(
    "headers",
    [
        {f"X-{number}": "v" for number in range(101)},
        {"X-Long": "v" * 70_000},
        {f"X-{number}": "v" * 1000 for number in range(70)},
    ],
    ids=["fields", "one long field", "bytes"],
)
def test_headers_are_bounded(short: ServerProcess, headers: dict[str, str]) -> None:
    with short.connect() as connection:
        response = connection.request("GET", "/", headers=headers)
    assert (response.status, response.closes) == (431, True)
    assert response.json()["code"] == "HEADERS_TOO_LARGE"


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\nX-Endless: ", b"GET /"], ids=["header", "path"])
def test_a_header_without_end_is_refused_long_before_it_costs_memory(short: ServerProcess, start: bytes) -> None:
    with short.connect() as connection:
        connection.send(start)
        with pytest.raises((ConnectionEnded, BrokenPipeError, ConnectionResetError)):
            for _ in range(1000):
                connection.socket.send(b"x" * 100_000)
            connection.read_response()
            raise ConnectionEnded(b"")


def test_as_many_headers_as_allowed_pass(short: ServerProcess) -> None:
    with short.connect() as connection:
        assert connection.request("GET", "/", headers={f"X-{number}": "v" * 300 for number in range(98)}).status == 200


def test_half_a_header_is_waited_for_only_so_long(short: ServerProcess) -> None:
    with short.connect() as connection:
        connection.send(b"POST / HTTP/1.1\r\nHost: te")
        assert connection.read_response().status == 408
        assert connection.read_until_close() == b""


def test_a_trickle_of_headers_does_not_buy_time(short: ServerProcess) -> None:
    with short.connect(timeout_s=0.2) as connection:
        connection.send(b"GET / HTTP/1.1\r\nX: ")

        def answered() -> bool:
            connection.socket.send(b"x")
            try:
                return connection.read_response().status == 408
            except TimeoutError:
                return False

        wait_for(answered, "408")


def test_a_silent_connection_is_closed(short: ServerProcess) -> None:
    with short.connect() as connection:
        assert connection.read_until_close() == b""


def test_half_a_body_is_waited_for_only_so_long(short: ServerProcess) -> None:
    with short.connect() as connection:
        connection.send(request_bytes("POST", "/", b"half", {"Content-Length": "1000"}))
        response = connection.read_response()
        assert (response.status, response.json()["code"]) == (408, "REQUEST_TIMEOUT")
        assert connection.read_until_close() == b""


@pytest.mark.parametrize("garbage", [b"\x16\x03\x01\x02\x00\x01\x00", b"NONSENSE\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_no_http_is_refused(short: ServerProcess, garbage: bytes) -> None:
    with short.connect() as connection:
        connection.send(garbage)
        assert connection.read_response().status == 400
        assert connection.read_until_close() == b""


def test_two_lengths_are_refused(short: ServerProcess) -> None:
    with short.connect() as connection:
        connection.send(b"POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        assert connection.read_response().status == 400


def test_nonsense_behind_a_good_request_does_not_take_its_answer(short: ServerProcess) -> None:
    with short.connect() as connection:
        connection.send(request_bytes("POST", "/", b"good") + b"\x00nonsense")
        response = connection.read_response()
        assert (response.status, response.json()["bytes"], response.closes) == (200, 4, True)
        assert connection.read_until_close() == b""


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
def test_a_body_over_the_limit_is_read_on_so_that_its_sender_sees_the_refusal(
    short: ServerProcess, declared: bool
) -> None:
    body = b"x" * 5_000_000
    headers = {} if declared else {"Transfer-Encoding": "chunked"}
    with short.connect() as connection:
        response = connection.request("POST", "/", body if declared else chunked(body), headers)
        assert (response.status, response.body, response.closes) == (413, b"too large", False)
        assert connection.request("POST", "/", b"next").json()["bytes"] == 4


def test_an_endless_body_is_not_read_for_ever(short: ServerProcess) -> None:
    with short.connect() as connection:
        connection.send(request_bytes("POST", "/", b"", {"Content-Length": str(10**12)}))
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(2000):
                connection.send(b"x" * 1_000_000)


def test_a_client_that_waits_for_100_gets_it(short: ServerProcess) -> None:
    with short.connect() as connection:
        connection.send(request_bytes("POST", "/", b"", {"Content-Length": "4", "Expect": "100-continue"}))
        assert connection.socket.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n")
        connection.send(b"body")
        assert connection.read_response().json()["bytes"] == 4


def test_a_client_that_waits_for_100_is_refused_before_it_sends(short: ServerProcess) -> None:
    with short.connect() as connection:
        connection.send(request_bytes("POST", "/", b"", {"Content-Length": "5000000", "Expect": "100-continue"}))
        response = connection.read_response()
        assert (response.status, response.closes) == (413, True)


def test_an_upgrade_is_declined_and_the_request_answered(short: ServerProcess) -> None:
    with short.connect() as connection:
        response = connection.request("GET", "/", headers={"Connection": "Upgrade", "Upgrade": "h2c"})
        assert (response.status, response.closes) == (200, True)
    with short.connect() as connection:
        response = connection.request("POST", "/", b"body", headers={"Connection": "Upgrade", "Upgrade": "h2c"})
        assert (response.status, response.closes) == (501, True)


def test_http_1_0_closes(short: ServerProcess) -> None:
    with short.connect() as connection:
        connection.send(b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi")
        assert connection.read_response().json()["bytes"] == 2
        assert connection.read_until_close() == b""


def test_head_has_the_length_and_no_body(short: ServerProcess) -> None:
    with short.connect() as connection:
        response = connection.request("HEAD", "/")
        assert int(response.headers["content-length"]) > 0
        assert connection.request("POST", "/", b"next").json()["bytes"] == 4


def test_only_a_trusted_proxy_speaks_for_others(short: ServerProcess) -> None:
    spoken = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7", "X-Forwarded-Proto": "https"}
    with short.connect() as connection:
        assert connection.request("POST", "/", headers=spoken).json()["client"] == ["198.51.100.7", 0]
    with small_server("short", "--forwarded-allow-ips", "192.0.2.1") as server, server.connect() as connection:
        assert connection.request("POST", "/", headers=spoken).json()["client"][0] == "127.0.0.1"


def test_more_connections_than_allowed_are_told_so() -> None:
    with small_server("short", max_connections=3) as server:
        open_now = [Connection(server.address) for _ in range(3)]
        for connection in open_now:
            assert connection.request("GET", "/").status == 200
        with server.connect() as one_more:
            response = one_more.read_response()
            assert (response.status, response.headers["retry-after"]) == (503, "1")
            assert one_more.read_until_close() == b""
        for connection in open_now:
            connection.close()
        wait_for(lambda: server.fetch("GET", "/").status == 200, "room again")


def test_a_unix_socket_serves(short: ServerProcess) -> None:
    path = short.runtime_dir.with_name("http.sock")
    with small_server("short", "-b", f"unix:{path}"):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        with client:
            client.connect(str(path))
            client.sendall(request_bytes("POST", "/", b"hi", {"X-Forwarded-For": "203.0.113.9"}))
            assert b'"client": ["203.0.113.9", 0]' in client.recv(10_000)
