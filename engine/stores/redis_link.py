"""One connection to a Redis server: redis-py's, without what it does by itself.

The only module that imports redis-py; it is imported by `redis_links` alone, where Redis is configured. redis-py would
send its own name, retry, reconnect on any use and wait anew for every piece of an answer: here a connection is opened
once, waits until one deadline, and is given up when it broke.
"""

from __future__ import annotations

import contextlib
import inspect
import socket
from collections.abc import Sequence
from typing import Any

import redis

from engine.clock import Deadline
from engine.errors import StoreUnavailable
from engine.shm.forked import not_for_children
from engine.stores.deadline_socket import DeadlineSocket
from engine.stores.redis_address import RedisAddress, RedisNode
from engine.stores.redis_words import Answer, Command, RedisRefusal

# A peer that takes in nothing for so long is gone: without it the kernel goes on for a quarter of an hour.
SILENT_PEER_MS = 10_000
LEAST_S = 0.001  # of an attempt to connect: 0 would not block
# Its announcement of itself: under a new name since redis-py 7.
_NO_NAME = (
    {"driver_info": None}
    if "driver_info" in inspect.signature(redis.connection.AbstractConnection.__init__).parameters
    else {"lib_name": None, "lib_version": None}
)
_ELSEWHERE = ("MOVED ", "ASK ", "CLUSTERDOWN ")
_CREDENTIALS_REFUSED = (redis.AuthenticationError, redis.AuthenticationWrongNumberOfArgsError)


class RedisLink:
    """Not thread-safe: whoever a pool gave it has it alone. After an error `broken` or `owed` says what is left.

    Equation: not broken, or closed.
    """

    def __init__(self, node: RedisNode, address: RedisAddress, deadline: Deadline) -> None:
        """Connects. Raises StoreUnavailable; resolving a name may outlast the deadline, for the system's own."""
        self.node = node
        self.broken = False
        self.owed = 0  # answers that were asked for and are not read
        self._greeting = _greeting(address)
        self._connection: Any = _made(node, address, max(LEAST_S, deadline.remaining_s()))
        try:
            self._connection.connect()
        except (redis.RedisError, OSError, ValueError) as error:
            raise self._break(error) from None
        self._socket = DeadlineSocket(self._connection._sock, deadline)
        _put_before(self._connection, self._socket)
        not_for_children(self)

    def greet(self, deadline: Deadline) -> None:
        """Sends the credentials, selects the database, and asks for a sign of life. Raises StoreUnavailable."""
        self.send([*self._greeting, (b"PING",)], deadline)
        self.receive(deadline)

    # --- asking -----------------------------------------------------------------------------------------------------

    def ask(self, commands: Sequence[Command], deadline: Deadline) -> list[Answer]:
        """The answer to each. Raises StoreUnavailable where not all came by the deadline, or the connection broke."""
        self.send(commands, deadline)
        return self.receive(deadline)

    def send(self, commands: Sequence[Command], deadline: Deadline) -> None:
        """Sends all in one go. Raises StoreUnavailable; the connection is then broken."""
        if self.broken:
            raise StoreUnavailable(f"{self.node}: the connection is closed")
        self._socket.deadline = deadline
        try:
            self._connection.send_packed_command(self._connection.pack_commands(commands), check_health=False)
        except (redis.RedisError, OSError) as error:
            raise self._break(error) from None
        self.owed += len(commands)

    def receive(self, deadline: Deadline) -> list[Answer]:
        """All answers that are owed. Raises StoreUnavailable where the deadline comes first: `owed` says how many lack.

        Those that came are then lost; the connection is good again once a later call has read the rest.
        """
        if self.broken:
            raise StoreUnavailable(f"{self.node}: the connection is closed")
        self._socket.deadline = deadline
        answers: list[Answer] = []
        while self.owed:
            answers.append(self._next())
            self.owed -= 1
            self._heed_greeting(answers[-1])
        return answers

    def _next(self) -> Answer:
        try:
            answer: Answer = self._connection.read_response(disable_decoding=True, disconnect_on_error=False)
        except redis.ResponseError as error:
            return RedisRefusal(" ".join(str(error).split())[:200], _is_elsewhere(error))
        except redis.TimeoutError:
            raise StoreUnavailable(f"{self.node}: no answer in time") from None
        except (redis.RedisError, OSError, ValueError, IndexError) as error:  # the last two: it is no Redis
            raise self._break(error) from None
        return answer

    def _heed_greeting(self, answer: Answer) -> None:
        """The first answers of a connection are to the greeting; whoever waits for them, late or not."""
        if self._greeting:
            command = self._greeting.pop(0)
            if isinstance(answer, RedisRefusal):
                raise self._break(redis.RedisError(f"{command[0].decode()} was refused: {answer.text}"))

    # --- its end ----------------------------------------------------------------------------------------------------

    def _break(self, error: Exception) -> StoreUnavailable:
        self.close()
        return StoreUnavailable(f"{self.node}: {_in_words(error)}")

    def fileno(self) -> int:
        """For poll."""
        return int(self._socket.fileno())

    def leave(self, deadline: Deadline) -> None:
        """Closes it, and waits until the server has: from then on it does not count there."""
        with contextlib.suppress(OSError):
            self._socket.deadline = deadline
            self._socket.shutdown(socket.SHUT_WR)
            while self._socket.recv(4096):
                pass
        self.close()

    def close(self) -> None:
        """Closes it at once. Idempotent."""
        self.broken = True
        self._connection.disconnect()

    def let_go_in_child(self) -> None:
        """Closes the child's copy of the descriptor; the connection goes on in the parent."""
        self.broken = True
        if self._connection._sock is not None:
            self._connection._sock.close()


def _made(node: RedisNode, address: RedisAddress, open_s: float) -> Any:
    """A connection of redis-py that says nothing by itself: no credentials, no database, no name."""
    kind: Any  # redis-py gives it no types
    bounds: dict[str, Any] = {"socket_timeout": open_s, "socket_connect_timeout": open_s, "protocol": 2, **_NO_NAME}
    if not node.port:
        kind = redis.UnixDomainSocketConnection
        return kind(path=node.host, **bounds)
    bounds |= {"host": node.host, "port": node.port, "socket_keepalive": True}
    bounds["socket_keepalive_options"] = {
        socket.TCP_KEEPIDLE: 10, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3,
        socket.TCP_USER_TIMEOUT: SILENT_PEER_MS,
    }  # fmt: skip
    if address.tls is None:
        kind = redis.Connection
        return kind(**bounds)
    verifies = address.tls.get("ssl_cert_reqs") != "none"
    names = verifies and address.tls.get("ssl_check_hostname", "true").lower() not in ("false", "0", "no")
    kind = redis.SSLConnection
    return kind(**{**bounds, **address.tls, "ssl_check_hostname": names})


def _put_before(connection: Any, before: DeadlineSocket) -> None:
    """Has redis-py read and write through `before`."""
    connection._sock = before
    connection._parser.on_connect(connection)


def _greeting(address: RedisAddress) -> list[Command]:
    commands: list[Command] = []
    if address.password or address.username:
        user = [address.username.encode()] if address.username else []
        commands.append((b"AUTH", *user, address.password.encode()))
    if address.database:
        commands.append((b"SELECT", str(address.database).encode()))
    return commands


def _is_elsewhere(error: redis.ResponseError) -> bool:
    """redis-py has an error of its own for these, without the word, or none and leaves the word."""
    kinds = (redis.exceptions.AskError, redis.exceptions.ClusterDownError)  # a MovedError is an AskError
    return isinstance(error, kinds) or str(error).startswith(_ELSEWHERE)


def _in_words(error: Exception) -> str:
    """Without what the server might have repeated of our credentials."""
    if isinstance(error, _CREDENTIALS_REFUSED):
        return "the credentials are refused"
    return " ".join(str(error).split())[:200] or type(error).__name__
