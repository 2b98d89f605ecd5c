"""`nightscan bench` and `predict` at a real server, and a load at servers that do what they should not."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from engine.errors import BrokenError, ConfigError, NotReady
from frontend.cli.bench import try_once
from frontend.cli.command_end import CommandEnd
from frontend.cli.load import LoadRun, requests_of
from frontend.cli.sounds import chirps
from frontend.cli.target import target_of
from tests.cli.nightscan import SETTING, in_this_process, nightscan
from tests.conformance.conftest import MODEL
from tests.support.server import ServerProcess, free_port


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    environment = {**MODEL, f"{SETTING}CACHE_L1_MB": "16"}
    with ServerProcess(["serve"], module="frontend.cli.main", environment=environment, ready="/ready") as started:
        yield started


def url_of(server: ServerProcess) -> str:
    return f"http://127.0.0.1:{server.port}"


# --- a real server --------------------------------------------------------------------------------------------------


def test_a_sweep_tells_rate_percentiles_split_and_whether_the_client_was_the_limit(server: ServerProcess) -> None:
    told = nightscan("bench", "--url", url_of(server), "--concurrency", "1,2", "--seconds", "0.4", "--json")
    assert told.code == CommandEnd.DONE, told.err
    one, two = json.loads(told.out)["steps"]
    assert (one["concurrency"], two["concurrency"]) == (1, 2)
    for step in (one, two):
        times = step["latency_ms"]
        assert step["answered"] > 0 and step["others"] == {} and step["cached"] == 0
        assert 0 < times["p50"] <= times["p95"] <= times["p99"] <= times["max"]
        assert step["server_ms"]["total"] > 0 and "compute" in step["server_ms"] and step["beyond_server_ms"] >= 0
        assert isinstance(step["client_was_the_limit"], bool)


def test_people_get_a_table_of_eighty_columns(server: ServerProcess) -> None:
    told = nightscan("bench", "--url", url_of(server), "--concurrency", "1,4", "--seconds", "0.3", "--same")
    told.assert_fits()
    assert told.code == CommandEnd.DONE and "requests/s" in told.out and "where the time goes" in told.out
    assert "the client was" in told.out and "came from the cache" in told.out
    assert "4 connections" in told.err


def test_predict_shows_what_was_heard(server: ServerProcess, tmp_path: Path) -> None:
    recording = tmp_path / "night.wav"
    recording.write_bytes(chirps(1.0))
    told = nightscan("predict", str(recording), "--url", url_of(server))
    assert told.code == CommandEnd.DONE and "whole" in told.out
    answer = json.loads(nightscan("predict", str(recording), "--url", url_of(server), "--json").out)
    assert answer["audio"]["duration_s"] == 1.0


def test_what_the_server_refuses_is_said_in_its_words(server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_bytes(b"not a sound at all")
    for verb in ("predict", "bench"):
        told = nightscan(verb, str(tmp_path / "text.wav"), "--url", url_of(server))
        assert told.code == CommandEnd.REFUSED and told.err.count("\n") == 1 and "415" in told.err


# --- bounds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--concurrency", "0"], "from 1 to 1024"),
        (["--concurrency", "1,2000"], "from 1 to 1024"),
        (["--concurrency", "many"], "from 1 to 1024"),
        (["--seconds", "61"], "0.1<=x<=60"),
        (["--seconds", "60", "--concurrency", ",".join("1" * 11)], "600 s at most"),
        (["--url", "http://192.0.2.1:80"], "--allow-remote"),
        (["--url", "ftp://127.0.0.1"], "http://127.0.0.1:8001"),
    ],
)
def test_a_load_is_bounded_and_stays_on_this_machine(arguments: list[str], said: str) -> None:
    told = in_this_process("bench", *arguments)
    assert told.code == CommandEnd.MISUSED and said in told.err


def test_without_a_server_it_says_how_to_start_one() -> None:
    told = nightscan("bench", "--url", f"http://127.0.0.1:{free_port()}")
    assert told.code == CommandEnd.NOTHING_RUNS and told.err.count("\n") == 1


def test_addresses() -> None:
    assert target_of("http://127.0.0.1", allow_remote=False).address == ("127.0.0.1", 80)
    assert target_of("http://localhost:8001/api/predict", allow_remote=False).path == "/api/predict"
    assert target_of("http://192.0.2.1:81/", allow_remote=True).path == "/api/optimized/predict"
    assert target_of("unix:/run/night.sock", allow_remote=False).address == "/run/night.sock"
    for wrong in ("127.0.0.1:8001", "https://127.0.0.1", "http://:80", "http://127.0.0.1:port", "http://[::1", "",
                  "http://127.0.0.1:0", "http://127.0.0.1:65536", "http://h/a b", "http://h/ü",
                  f"http://{'h' * 64}"):  # fmt: skip
        with pytest.raises(ConfigError):
            target_of(wrong, allow_remote=True)
    with pytest.raises(ConfigError) as refused:
        target_of("http://night:hunter2@127.0.0.1", allow_remote=False)
    assert "hunter2" not in str(refused.value)


# --- servers that do what they should not ---------------------------------------------------------------------------


@contextmanager
def scripted(place: Path | tuple[str, int], answer: bytes, *, closes: bool) -> Iterator[None]:
    """Says `answer` to whatever comes, on a Unix socket or a port."""
    address, family = (str(place), socket.AF_UNIX) if isinstance(place, Path) else (place, socket.AF_INET)
    leave = threading.Event()

    def serve(listener: socket.socket) -> None:
        while not leave.is_set():
            connection, _ = listener.accept()
            with connection, suppress(ConnectionError):  # who has heard enough hangs up
                while not leave.is_set() and connection.recv(1 << 20):
                    connection.sendall(answer)
                    if closes:
                        connection.shutdown(socket.SHUT_WR)  # what is closed with something unread is reset

    with socket.socket(family) as listener:
        listener.bind(address)
        listener.listen(64)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            yield
        finally:
            leave.set()
            with socket.socket(family) as last:
                last.connect(address)
            thread.join()


@pytest.mark.parametrize(
    ("answer", "closes", "kind"),
    [
        (b"HTTP/1.1 429 Too Many\r\nContent-Length: 17\r\n\r\n" + b'{"error": "full"}', True, "429"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", False, "no answer of HTTP/1.1 with a length"),
        (b"", True, "closed in place of an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1%0999d\r\n\r\n" % 0, False, "no answer of HTTP/1.1 with a length"),
        (b"HTTP/1.1 abc\r\nContent-Length: 2\r\n\r\n{}", False, "no answer of HTTP/1.1 with a length"),
        (b"x" * (1 << 17), False, "no answer of HTTP/1.1"),
    ],
)
def test_answers_that_are_none_are_counted_by_kind(runtime_dir: Path, answer: bytes, closes: bool, kind: str) -> None:
    path = runtime_dir / "s"
    with scripted(path, answer, closes=closes):
        target = target_of(f"unix:{path}", allow_remote=False)
        result = LoadRun(target, requests_of(target, [b"12345678"], same=False), 1).go(0.1)
        with pytest.raises(BrokenError, match="full" if kind == "429" else kind[:20]):
            try_once(target, b"12345678")
    assert result.latencies_ms == [] and result.others[kind] > 0
    assert result.percentile_ms(0.5) is None and result.to_json()["latency_ms"]["p50"] is None


def test_a_timing_that_is_no_number_is_none(runtime_dir: Path) -> None:
    timing = b"HTTP/1.1 200 OK\r\nServer-Timing: a;dur=1.2.3, b;dur=" + b"9" * 400 + b", c;dur=2.5, d;dur=.\r\n"
    with scripted(runtime_dir / "s", timing + b"Content-Length: 2\r\n\r\n{}", closes=False):
        target = target_of(f"unix:{runtime_dir / 's'}", allow_remote=False)
        assert LoadRun(target, requests_of(target, [b"12345678"], same=False), 1).go(5, most=1).parts_ms == {"c": 2.5}


@pytest.mark.parametrize(
    ("answer", "end", "said"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]", CommandEnd.REFUSED, "is it a server of ours?"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", CommandEnd.REFUSED, "is it a server of ours?"),
        (b"HTTP/1.1 500 No\r\nContent-Length: 5\r\n\r\n\x1b[1mX", CommandEnd.REFUSED, "answered 500: [1mX"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", CommandEnd.NOTHING_RUNS, "breaks off"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", CommandEnd.NOTHING_RUNS, "no answer from http://"),
    ],
)
def test_a_server_that_is_none_of_ours_is_said_in_one_line(
    tmp_path: Path, answer: bytes, end: CommandEnd, said: str
) -> None:
    recording = tmp_path / "night.wav"
    recording.write_bytes(chirps(0.1))
    with scripted(("127.0.0.1", port := free_port()), answer, closes=True):
        told = in_this_process("predict", str(recording), "--url", f"http://127.0.0.1:{port}", "--json")
    assert told.code == end and said in told.err and told.err.count("\n") == 1 and "fault" not in told.err
    assert json.loads(told.out)["exit_code"] == end


@pytest.mark.parametrize("piece", [b"", b"H"], ids=["silent", "dripping"])
def test_a_server_that_never_comes_to_its_answer_is_given_up(
    tmp_path: Path, piece: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("frontend.cli.http_client._MARGIN_S", 0.4)
    monkeypatch.setenv("NIGHTSCAN_OPTIMIZED_SERVING__REQUEST_TIMEOUT_MS", "100")
    (tmp_path / "night.wav").write_bytes(chirps(0.1))
    with dripping(piece) as port:
        told = in_this_process("predict", str(tmp_path / "night.wav"), "--url", f"http://127.0.0.1:{port}")
    assert told.code == CommandEnd.NOTHING_RUNS
    assert told.err == f"nightscan: no answer from http://127.0.0.1:{port} within 0.5 s; is it a server of ours?\n"


@contextmanager
def dripping(piece: bytes) -> Iterator[int]:
    """A port at which an answer comes piece by piece, and never all of it."""
    leave = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(ConnectionError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-" if piece else b"")
            while not leave.wait(0.05):
                connection.sendall(piece)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield int(listener.getsockname()[1])
        leave.set()
        thread.join()


def test_a_recording_is_a_file_with_an_end() -> None:
    told = in_this_process("predict", "/dev/zero")
    assert told.code == CommandEnd.MISUSED and told.err == "nightscan: /dev/zero: no file\n"


def test_a_unix_socket_without_a_server(runtime_dir: Path) -> None:
    target = target_of(f"unix:{runtime_dir / 'none'}", allow_remote=False)
    with pytest.raises(NotReady):
        try_once(target, b"12345678")


def test_no_two_requests_are_alike_unless_they_shall_be() -> None:
    target = target_of("http://127.0.0.1:1", allow_remote=False)
    for same, different in ((False, 3), (True, 1)):
        requests = requests_of(target, [b"0123456789abcdef"], same=same)
        found = [next(requests) for _ in range(3)]
        assert len(set(found)) == different and all(b"\r\n\r\n01234567" in each for each in found)
