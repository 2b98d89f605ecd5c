"""Control messages: small JSON objects with descriptors over a Unix SEQPACKET socket.

One message is one packet: `{"v": 1, "type": ..., ...}` and up to 250 descriptors by SCM_RIGHTS, which arrive close-on-
exec and belong to the receiver. The socket refuses packets of about 212 KB and more, so the body of a larger message
travels in a sealed memfd as its last descriptor; senders and receivers do not notice.

Both ends check by SO_PEERCRED that the other runs as the same user, before a byte is read.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import json
import os
import select
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.errors import ConfigError, NotReady, PeerGone, ProtocolError

VERSION = 1
SOCKET_NAME = "control.sock"
MOST_FDS = 250  # the kernel's limit is 253; room for the body of a large message

_INLINE_BYTES = 64 << 10  # any value well below 212 KB; a packet of this size never blocks an empty socket
_PACKET_BYTES = 256 << 10
_LARGEST_BODY_BYTES = 64 << 20
_CONNECT_TIMEOUT_S = 1.0
_NOT_NOW = (  # a send that can succeed later
    errno.ETOOMANYREFS,  # descriptors under way, over all sockets of the user: they drain
    errno.ENOBUFS,
    errno.ENOMEM,
)
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Connection:
    """One end of a control connection. `receive` never waits; `send` waits a bounded time for a slow reader."""

    def __init__(self, sock: socket.socket) -> None:
        """Takes ownership of a connected SEQPACKET socket. Raises ProtocolError for another user at the other end."""
        self._socket = sock
        self._socket.setblocking(False)
        self.peer_pid, self.peer_uid = _credentials(sock)
        if self.peer_uid != os.geteuid():
            sock.close()
            raise ProtocolError(f"the other end runs as uid {self.peer_uid}, this one as {os.geteuid()}")

    def try_send(self, message: dict[str, Any], fds: Sequence[int] = ()) -> bool:
        """Sends without waiting; False when the other end reads too slowly. `fds` stay the caller's.

        Raises PeerGone when the other end is closed.
        """
        if len(fds) > MOST_FDS:
            raise ProtocolError(f"{len(fds)} descriptors in one message, at most {MOST_FDS} are possible")
        body = json.dumps({"v": VERSION, **message}, separators=(",", ":")).encode()
        if len(body) <= _INLINE_BYTES:
            return self._try_packet(body, fds)
        memfd = sealed_memfd("message", body)
        try:
            return self._try_packet(b'{"v":%d,"type":"large"}' % VERSION, [*fds, memfd])
        finally:
            os.close(memfd)

    def send(self, message: dict[str, Any], fds: Sequence[int] = (), *, timeout_s: float = 5.0) -> None:
        """Sends, waiting at most `timeout_s` for room. Raises PeerGone when closed or not read for that long."""
        while not self.try_send(message, fds):
            poller = select.poll()
            poller.register(self._socket, select.POLLOUT)
            if not poller.poll(timeout_s * 1000):
                raise PeerGone(f"the other end (pid {self.peer_pid}) has not read for {timeout_s} s")

    def receive(self) -> tuple[dict[str, Any], list[int]] | None:
        """The next message and its descriptors, which the caller now owns; None when there is none yet.

        Raises PeerGone at the end of the connection, ProtocolError for what is not a message of this version.
        """
        try:
            packet, ancillary, flags = self._next_packet()
        except BlockingIOError:
            return None
        except OSError as error:
            raise PeerGone(f"control connection: {error.strerror}") from error
        fds = _descriptors(ancillary)
        try:
            return _decode(packet, fds, truncated=bool(flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)))
        except (PeerGone, ProtocolError):
            for fd in fds:
                os.close(fd)
            raise

    def fileno(self) -> int:
        """The descriptor to poll."""
        return self._socket.fileno()

    def hang_up(self) -> None:
        """Lets the other end read that nothing more will come; what it has still to say can be received."""
        with contextlib.suppress(OSError):  # it hung up first
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Closes; closing again is harmless."""
        self._socket.close()

    def _next_packet(self) -> tuple[bytes, list[tuple[int, int, bytes]], int]:
        room = socket.CMSG_SPACE((MOST_FDS + 1) * 4)
        try:
            return self._socket.recvmsg(_PACKET_BYTES, room, socket.MSG_CMSG_CLOEXEC)[:3]
        except ConnectionResetError:
            # The other end closed without reading all of ours. The kernel says so first, once, and only then hands out
            # what the other end had still to say.
            return self._socket.recvmsg(_PACKET_BYTES, room, socket.MSG_CMSG_CLOEXEC)[:3]

    def _try_packet(self, body: bytes, fds: Sequence[int]) -> bool:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._socket.sendmsg([body], rights, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _NOT_NOW:
                return False
            raise PeerGone(f"control connection: {error.strerror}") from error
        return True


def connect(runtime_dir: str | os.PathLike[str]) -> Connection:
    """A connection to the supervisor of `runtime_dir`. Raises NotReady when none listens there."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(_CONNECT_TIMEOUT_S)
    try:
        sock.connect(socket_path(runtime_dir))
        return Connection(sock)
    except ConfigError:
        sock.close()
        raise
    except OSError as error:
        sock.close()
        raise NotReady(f"no supervisor listens in {os.fspath(runtime_dir)}: {error.strerror or error}") from error


def socket_path(runtime_dir: str | os.PathLike[str]) -> str:
    """Where the supervisor listens. Raises ConfigError for a path that no Unix socket can have."""
    path = os.path.join(runtime_dir, SOCKET_NAME)
    if len(os.fsencode(path)) > 107:
        raise ConfigError(f"runtime_dir={os.fspath(runtime_dir)}: the path of a socket in it is over 107 bytes")
    return path


def sealed_memfd(name: str, content: bytes | memoryview) -> int:
    """A memory file that nobody can change any more. The caller owns the descriptor."""
    fd = os.memfd_create(f"nightscan-{name}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        rest = memoryview(content)
        while len(rest):
            rest = rest[os.write(fd, rest) :]
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except OSError:
        os.close(fd)
        raise
    return fd


def sealed_size(fd: int) -> int:
    """Bytes of a sealed memory file. Raises ProtocolError for any other: it could change or shrink while it is read."""
    try:
        seals = fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError as error:
        raise ProtocolError("a descriptor is not a memory file") from error
    if seals & _SEALS != _SEALS:
        raise ProtocolError("a memory file is not sealed")
    return os.fstat(fd).st_size


def read_memfd(fd: int, *, at_most_bytes: int = _LARGEST_BODY_BYTES) -> bytes:
    """All of a sealed memory file, from its start, whatever its shared offset. The descriptor stays open.

    Raises ProtocolError for a file that is not sealed, or larger than `at_most_bytes`.
    """
    size = sealed_size(fd)
    if size > at_most_bytes:
        raise ProtocolError(f"a memory file of {size} bytes is larger than {at_most_bytes} bytes")
    parts: list[bytes] = []
    offset = 0
    while offset < size:
        parts.append(os.pread(fd, size - offset, offset))
        offset += len(parts[-1])
    return b"".join(parts)


def process_start_ticks(pid: int) -> int:
    """When the process started, in clock ticks since boot: with the pid it names a process for ever; 0 for no process.

    Field 22 of /proc/PID/stat (proc(5)), counted behind the command, which may hold blanks and parentheses.
    Raises OSError if that cannot be found out just now: for want of a descriptor nobody is dead.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(stat.rpartition(b")")[2].split()[19])


def _credentials(sock: socket.socket) -> tuple[int, int]:
    """Pid and uid of the other end."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", raw)
    return pid, uid


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return fds.tolist()


def _decode(packet: bytes, fds: list[int], *, truncated: bool) -> tuple[dict[str, Any], list[int]]:
    if truncated:
        raise ProtocolError("a control message was cut off")
    if not packet:
        raise PeerGone("the other end closed the control connection")
    message = _parsed(packet)
    if message["type"] == "large" and fds:
        message = _parsed(read_memfd(fds[-1]))
        os.close(fds.pop())
    return message, fds


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"not a control message: {error}") from error
    if not isinstance(message, dict) or message.get("v") != VERSION or not isinstance(message.get("type"), str):
        raise ProtocolError(f"not a control message of version {VERSION}: {body[:80]!r}")
    return message
