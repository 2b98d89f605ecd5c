"""A WSGI application behind the bridge sees what it would see under gunicorn's own workers, and its client too."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.http import Connection, ConnectionEnded, Response, chunked, request_bytes
from tests.support.server import ServerProcess
from tests.support.wait import wait_for
from tests.transport.servers import small_server


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    with small_server() as started:
        yield started


@pytest.fixture
def connection(server: ServerProcess) -> Iterator[Connection]:
    with server.connect() as opened:
        yield opened


def is_alive(connection: Connection) -> bool:
    return connection.request("GET", "/").status == 200


@pytest.mark.parametrize("size", [0, 1, 1_000_000, 1_200_000, 20_000_000])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_bodies_arrive_whole(connection: Connection, size: int, framing: str) -> None:
    body = bytes(range(251)) * (size // 251 + 1)
    body = body[:size]
    if framing == "length":
        answer = connection.request("POST", "/echo", body).json()
    else:
        pieces = [body[start : start + 150_000] for start in range(0, size, 150_000)]
        answer = connection.request("POST", "/echo", chunked(*pieces), {"Transfer-Encoding": "chunked"}).json()
    assert (answer["bytes"], answer["sha256"]) == (size, hashlib.sha256(body).hexdigest())
    assert answer["environ"]["wsgi.input_terminated"] is True
    assert is_alive(connection)


def test_the_environ_is_that_of_gunicorn(server: ServerProcess, connection: Connection) -> None:
    headers = {"X-Twice": "1", "x-twice": "2", "Cookie": "a=1", "X_Under": "no", "Content-Type": "audio/wav"}
    environ = connection.request("POST", "/echo?a=%20b", b"xy", headers).json()["environ"]
    expected = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/echo",
        "QUERY_STRING": "a=%20b",
        "RAW_URI": "/echo?a=%20b",
        "CONTENT_LENGTH": "2",
        "CONTENT_TYPE": "audio/wav",
        "HTTP_X_TWICE": "1,2",
        "HTTP_COOKIE": "a=1",
        "SERVER_PORT": str(server.port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "SCRIPT_NAME": "",
        "wsgi.url_scheme": "http",
        "wsgi.multithread": True,
    }
    assert {name: environ[name] for name in expected} == expected
    assert "HTTP_X_UNDER" not in environ


def test_paths_beyond_ascii_come_as_pep_3333_says(connection: Connection) -> None:
    environ = connection.request("GET", "/%C3%A4/echo").json()["environ"]
    assert environ["PATH_INFO"].encode("latin-1").decode() == "/ä/echo"


def test_a_list_gets_its_length(connection: Connection) -> None:
    response = connection.request("GET", "/")
    assert response.headers["content-length"] == str(len(response.body))
    assert "transfer-encoding" not in response.headers


def test_pieces_go_out_as_they_are_made(connection: Connection, tmp_path: Path) -> None:
    connection.send(request_bytes("GET", f"/pieces?file={tmp_path}/go"))
    received = b""
    while b"first" not in received:
        received += connection.socket.recv(1000)
    assert b"second" not in received and b"chunked" in received
    (tmp_path / "go").touch()
    while b"0\r\n\r\n" not in received:
        received += connection.socket.recv(1000)
    assert b"second" in received
    assert is_alive(connection)


@pytest.mark.parametrize("announced, body", [(6, b"abcdef"), (4, b"abcd"), (3, b"abc")])
def test_a_body_is_never_longer_than_announced(connection: Connection, announced: int, body: bytes) -> None:
    response = connection.request("GET", f"/lengths?n={announced}")
    assert (response.headers["content-length"], response.body) == (str(announced), body)
    assert is_alive(connection)


def test_a_body_shorter_than_announced_ends_the_connection(connection: Connection) -> None:
    connection.send(request_bytes("GET", "/lengths?n=9"))
    with pytest.raises(ConnectionEnded):
        connection.read_response()


@pytest.mark.parametrize("path", ["/", "/lengths?n=6"])
def test_head_has_no_body(connection: Connection, path: str) -> None:
    assert connection.request("HEAD", path).status == 200
    assert is_alive(connection)


def test_no_content_has_no_body_and_no_length(connection: Connection) -> None:
    response = connection.request("GET", "/nothing")
    assert response.status == 204
    assert not {"content-length", "transfer-encoding"} & response.headers.keys()
    assert is_alive(connection)


def test_a_failed_head_has_no_body_either(connection: Connection) -> None:
    assert connection.request("HEAD", "/boom").status == 500
    assert connection.read_until_close() == b""


@pytest.mark.parametrize("path", ["/boom", "/leave", "/split"])
def test_an_applications_bug_is_a_500_without_a_traceback(server: ServerProcess, path: str) -> None:
    response = server.fetch("GET", path)
    assert (response.status, response.json()["code"]) == (500, "INTERNAL")
    assert b"Traceback" not in response.body and "x-injected" not in response.headers
    assert server.fetch("GET", "/").status == 200


def test_a_bug_after_the_beginning_cuts_the_connection(connection: Connection) -> None:
    connection.send(request_bytes("GET", "/boom-late"))
    with pytest.raises(ConnectionEnded):
        connection.read_response()


def test_the_answer_goes_out_before_close_is_called(connection: Connection, tmp_path: Path) -> None:
    response = connection.request("GET", f"/after-close?file={tmp_path}/go")
    assert response.body == b"ok"
    (tmp_path / "go").touch()
    assert is_alive(connection)


def test_an_endless_answer_waits_for_its_reader_and_stops_with_it(server: ServerProcess, tmp_path: Path) -> None:
    told = tmp_path / "closed"
    with server.connect() as connection:
        connection.send(request_bytes("GET", f"/stream?file={told}"))
        assert connection.socket.recv(100).startswith(b"HTTP/1.1 200")
        [worker] = server.workers()
        before = resident_bytes(worker)
        for _ in range(20):  # other requests go on, while nobody reads this one's answer
            assert server.fetch("GET", "/").status == 200
        assert resident_bytes(worker) - before < 30_000_000
    wait_for(told.exists, "the application's iterable closed")
    assert int(told.read_text()) < 1000


def test_a_view_can_see_that_its_client_has_hung_up(server: ServerProcess, tmp_path: Path) -> None:
    with server.connect() as connection:
        connection.send(request_bytes("GET", f"/peek?file={tmp_path}/gone"))
    wait_for((tmp_path / "gone").exists, "hang-up seen")
    assert server.fetch("GET", "/").status == 200


def test_a_client_that_hangs_up_in_its_body_is_nobodys_request(server: ServerProcess) -> None:
    for sent in (10, 2_000_000):
        with server.connect() as connection:
            connection.send(request_bytes("POST", "/echo", b"x" * sent, {"Content-Length": "3000000"}))
    assert server.fetch("GET", "/").status == 200


def test_a_refusal_without_reading_arrives_and_keeps_the_connection(connection: Connection) -> None:
    response: Response = connection.request("POST", "/refuse", b"x" * 5_000_000)
    assert (response.status, response.closes) == (429, False)
    assert is_alive(connection)


def test_slow_senders_hold_no_thread(server: ServerProcess) -> None:
    slow = [Connection(server.address) for _ in range(20)]
    try:
        for connection in slow:
            connection.send(request_bytes("POST", "/echo", b"x" * 1000, {"Content-Length": "100000"}))
        assert server.fetch("GET", "/").status == 200
    finally:
        for connection in slow:
            connection.close()


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
