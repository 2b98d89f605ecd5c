"""Control messages: whole or not at all, with their descriptors, from the same user only."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import ConfigError, NotReady, PeerGone, ProtocolError
from engine.messages import MOST_FDS, Connection, connect, process_start_ticks, read_memfd, sealed_memfd

Pair = tuple[Connection, Connection]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Both ends of one connection."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ends = Connection(one), Connection(other)
    yield ends
    for end in ends:
        end.close()


@pytest.fixture
def raw() -> Iterator[tuple[socket.socket, Connection]]:
    """A connection whose other end may say anything."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    end = Connection(other)
    yield one, end
    one.close()
    end.close()


def test_a_message_arrives_with_its_descriptors_close_on_exec(pair: Pair) -> None:
    reader, writer = os.pipe()
    assert pair[0].try_send({"type": "gift", "n": 3}, [reader, writer])
    os.close(reader)
    os.close(writer)
    received = pair[1].receive()
    assert received is not None
    message, fds = received
    assert message == {"v": 1, "type": "gift", "n": 3}
    os.write(fds[1], b"x")
    assert os.read(fds[0], 1) == b"x"
    for fd in fds:
        assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        os.close(fd)


def test_nothing_yet_is_none_and_the_end_is_an_error(pair: Pair) -> None:
    assert pair[1].receive() is None
    pair[0].close()
    with pytest.raises(PeerGone):
        pair[1].receive()
    with pytest.raises(PeerGone):
        pair[1].send({"type": "late"})


def test_last_words_are_heard_though_the_other_end_has_read_nothing(pair: Pair) -> None:
    pair[1].send({"type": "unread"})
    pair[0].send({"type": "goodbye"})
    pair[0].close()
    received = pair[1].receive()
    assert received is not None
    assert received[0]["type"] == "goodbye"
    with pytest.raises(PeerGone):
        pair[1].receive()


@pytest.mark.parametrize("size", [0, 60_000, 70_000, 300_000, 5_000_000])
def test_a_message_of_any_size_arrives_whole(pair: Pair, size: int) -> None:
    memfd = sealed_memfd("test", b"beside")
    pair[0].send({"type": "text", "text": "x" * size}, [memfd])
    os.close(memfd)
    received = pair[1].receive()
    assert received is not None
    assert received[0]["text"] == "x" * size
    assert [read_memfd(fd) for fd in received[1]] == [b"beside"]
    os.close(received[1][0])


def test_as_many_descriptors_as_promised(pair: Pair) -> None:
    memfd = sealed_memfd("test", b"")
    pair[0].send({"type": "many", "text": "x" * 100_000}, [memfd] * MOST_FDS)
    with pytest.raises(ProtocolError, match="251"):
        pair[0].send({"type": "more"}, [memfd] * (MOST_FDS + 1))
    os.close(memfd)
    received = pair[1].receive()
    assert received is not None
    assert len(received[1]) == MOST_FDS
    for fd in received[1]:
        os.close(fd)


def test_a_reader_that_does_not_read_is_not_waited_for(pair: Pair) -> None:
    sent = 0
    while pair[0].try_send({"type": "flood", "n": sent, "text": "x" * 10_000}):
        sent += 1
    with pytest.raises(PeerGone, match="has not read"):
        pair[0].send({"type": "flood"}, timeout_s=0.01)
    for number in range(sent):
        received = pair[1].receive()
        assert received is not None
        assert received[0]["n"] == number
    assert pair[0].try_send({"type": "again"})


@pytest.mark.parametrize(
    "nonsense",
    [b"{", b"[]", b"null", b'{"v":2,"type":"x"}', b'{"v":1}', b'{"v":1,"type":3}', b"\xff\xfe", b"0" * 200_000],
)
def test_nonsense_is_refused(raw: tuple[socket.socket, Connection], nonsense: bytes) -> None:
    raw[0].send(nonsense)
    with pytest.raises(ProtocolError):
        raw[1].receive()


def test_descriptors_that_come_with_nonsense_are_closed(raw: tuple[socket.socket, Connection]) -> None:
    """The leak guard would find them."""
    memfd = sealed_memfd("test", b"")
    socket.send_fds(raw[0], [b"nonsense"], [memfd, memfd])
    os.close(memfd)
    with pytest.raises(ProtocolError):
        raw[1].receive()


def test_a_packet_that_does_not_fit_is_refused(raw: tuple[socket.socket, Connection]) -> None:
    raw[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    try:
        raw[0].send(b"x" * 300_000)
    except OSError as error:  # a kernel that bounds packets below what the receiver reads has refused it itself
        assert error.errno == errno.EMSGSIZE
        return
    with pytest.raises(ProtocolError, match="cut off"):
        raw[1].receive()


def test_a_memory_file_that_may_change_is_not_read() -> None:
    fd = os.memfd_create("open", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, b"text")
    with pytest.raises(ProtocolError, match="not sealed"):
        read_memfd(fd)
    os.close(fd)
    with open(__file__, "rb") as file, pytest.raises(ProtocolError):
        read_memfd(file.fileno())


def test_a_sealed_memory_file_is_read_whatever_its_offset() -> None:
    fd = sealed_memfd("test", b"0123456789")
    os.lseek(fd, 7, os.SEEK_SET)
    assert read_memfd(fd) == b"0123456789"
    with pytest.raises(ProtocolError, match="larger"):
        read_memfd(fd, at_most_bytes=9)
    with pytest.raises(OSError, match="not permitted"):
        os.pwrite(fd, b"x", 0)
    os.close(fd)


def test_nobody_there_is_not_ready(runtime_dir: Path) -> None:
    with pytest.raises(NotReady):
        connect(runtime_dir)
    (runtime_dir / "control.sock").touch()
    with pytest.raises(NotReady):
        connect(runtime_dir)


def test_a_path_that_no_socket_can_have_is_a_mistake_in_the_settings(runtime_dir: Path) -> None:
    with pytest.raises(ConfigError, match="107 bytes"):
        connect(runtime_dir / ("x" * 100))


def test_start_ticks_tell_processes_apart() -> None:
    assert process_start_ticks(os.getpid()) > 0
    assert process_start_ticks(2**22 + 1) == 0  # above the largest pid there can be
