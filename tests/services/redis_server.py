"""A real redis-server on a free port: started, stopped, killed, frozen, thawed and restarted; it keeps nothing."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis

from tests.services.held_port import HeldPort
from tests.services.service_process import ServiceProcess
from tests.support.wait import wait_for

TESTS_OWN = "test"  # the name in CLIENT LIST of the connections by which a test asks
KEEPS_NOTHING = ("--save", "", "--appendonly", "no")


class RedisServer:
    """`with RedisServer() as server:` answers inside, is gone after. `arguments` go on its command line.

    `password` is the default user's. It listens on 127.0.0.1:`port` and on the Unix socket `socket_path`. `kept`: see
    ServiceProcess.
    """

    def __init__(self, arguments: Sequence[str] = (), *, password: str = "", kept: bool = False) -> None:
        self._password = password
        self._held = HeldPort()
        self.port = self._held.number
        self.folder = Path(tempfile.mkdtemp(prefix="ns-redis-", dir="/tmp"))
        self.socket_path = self.folder / "socket"
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--unixsocket", str(self.socket_path), *KEEPS_NOTHING, *arguments]
        command += ["--requirepass", password] if password else []
        self.process = ServiceProcess(command, self.folder / "log", kept=kept)

    @property
    def url(self) -> str:
        """Of its port, without a password."""
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> RedisServer:
        with contextlib.ExitStack() as begun:
            begun.callback(self.close)
            self.start()
            begun.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- life -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Starts it, on the same port each time, and waits until it answers."""
        self.process.start()
        wait_for(self.answers, f"redis-server on {self.port}")

    def stop(self) -> None:
        """Asks it to end, and waits."""
        self.process.end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL. What it held is gone."""
        self.process.kill()

    def restart(self) -> None:
        """Kills it if it runs, and starts it, empty."""
        if self.process.running:
            self.kill()
        self.start()

    def freeze(self) -> None:
        """It keeps its connections, and answers nothing."""
        self.process.freeze()

    def thaw(self) -> None:
        """It answers what it was asked meanwhile."""
        self.process.thaw()

    def close(self) -> None:
        """Ends it for good, and removes its folder."""
        self.process.end(signal.SIGTERM)
        self._held.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- asked by the test itself -----------------------------------------------------------------------------------

    def answers(self) -> bool:
        """Whether it can be asked. AssertionError with its log once it has ended."""
        assert self.process.running, self.process.log
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError):
            return bool(self.command("PING"))
        return False

    def command(self, *words: str | bytes | int) -> Any:
        """What it answers to one command, as it came; redis.ResponseError for a refusal."""
        kind: Any = redis.UnixDomainSocketConnection  # redis-py gives it no types
        connection = kind(
            path=str(self.socket_path),
            password=self._password or None,
            client_name=TESTS_OWN,
            socket_timeout=5.0,
            protocol=2,
        )
        try:
            connection.send_command(*words)
            return connection.read_response()
        finally:
            connection.disconnect()

    def facts(self, section: str) -> dict[str, str]:
        """INFO of that section."""
        lines = (line.partition(":") for line in self.command("INFO", section).decode().splitlines())
        return {name: value for name, colon, value in lines if colon}

    def connections(self) -> list[dict[str, str]]:
        """CLIENT LIST without the test's own, without replicas and other nodes."""
        lines = self.command("CLIENT", "LIST", "TYPE", "normal").decode().splitlines()
        clients = [dict(word.split("=", 1) for word in line.split()) for line in lines]
        return [client for client in clients if not self._is_of_a_test(client)]

    def _is_of_a_test(self, client: dict[str, str]) -> bool:
        """One that a test has just opened has no name yet, and is known by the socket and by having said nothing."""
        nameless = not client["name"] and client["cmd"] == "NULL"
        return client["name"] == TESTS_OWN or (nameless and client["addr"].startswith(str(self.socket_path)))
