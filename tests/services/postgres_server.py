"""A real Postgres for a test: a port and a data directory of its own, and nothing left at its end.

It never runs as root, which Postgres refuses; under root its processes are those of the user `postgres`. The data
directory is a copy of one that was made once for all tests: `initdb` takes a second and a half, the copy 30 ms.
`fsync` is off: what these tests kill is processes, and what a process wrote outlives it.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil
import psycopg
from psycopg import sql

from tests.services.held_port import HeldPort
from tests.services.service_process import WITH_US
from tests.support import leaks
from tests.support.wait import wait_for

OWNER = "recorder"  # owns the database, may make schemas
WRITER = "writer"  # may log in, and nothing else
SUPERUSER = "postgres"
PASSWORD = "night-Sky_7"
DATABASE = "nightscan"

# Nothing that comes and goes by itself, and no name in /dev/shm that a kill would leave behind.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_worker_processes": "0",
    "max_parallel_workers": "0",
    "max_logical_replication_workers": "0",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "dynamic_shared_memory_type": "mmap",
    "log_checkpoints": "off",
}


def binaries() -> Path:
    """Where the programs of the newest Postgres are: Debian keeps them out of the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    assert on_path, "no Postgres: tests/run installs it"
    return Path(on_path).parent


def _identity() -> dict[str, Any]:
    """For subprocess: whose processes they are."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("postgres")
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": [account.pw_gid]}


def _folder() -> Path:
    """A new folder that belongs to that user."""
    path = Path(tempfile.mkdtemp(prefix="ns-pg-", dir="/tmp"))
    identity = _identity()
    if identity:
        os.chown(path, identity["user"], identity["group"])
    return path


def _run(*command: str | Path) -> None:
    call = [*map(str, command)]
    done = subprocess.run(call, cwd="/", capture_output=True, text=True, env=_ENVIRONMENT, **_identity())
    assert done.returncode == 0, f"{command[0]}: {done.stdout}\n{done.stderr}"


_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


@functools.cache
def _template() -> Path:
    """A data directory with database and roles, made once for this process."""
    folder = _folder()
    password_file = folder / "password"
    password_file.write_text(PASSWORD)
    password_file.chmod(0o644)
    data = folder / "data"
    _run(
        binaries() / "initdb", "--no-sync", "--wal-segsize=1", "--encoding=UTF8", "--locale=C.UTF-8", "-D", data,
        "-U", SUPERUSER, "--auth=scram-sha-256", f"--pwfile={password_file}",
    )  # fmt: skip
    with PostgresServer(data=data) as server, server.connection(SUPERUSER, "postgres") as connection:
        for role in (OWNER, WRITER):
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role), sql.Literal(PASSWORD))
            )
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(*map(sql.Identifier, (DATABASE, OWNER))))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return data


class PostgresServer:
    """A context manager: accepts connections inside, gone after. `settings` go over those of all tests."""

    def __init__(
        self, *, data: Path | None = None, settings: dict[str, str] | None = None, kept: bool = False
    ) -> None:
        """`kept`: it lives longer than one test, see `ServiceProcess`."""
        self._held = HeldPort()
        self.port = self._held.number
        self._kept = kept
        self._settings = {**_SETTINGS, "port": str(self.port), **(settings or {})}
        self._folder = _folder()
        self._data = data or self._folder / "data"
        if data is None:
            _run("cp", "-a", "--reflink=auto", _template(), self._data)
        self._log_path = self._folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: list[psutil.Process] = []

    def url(self, role: str = OWNER, *, database: str = DATABASE, password: str = PASSWORD, port: int = 0) -> str:
        """With the password in it. `port`: of a proxy in front."""
        return f"postgresql://{role}:{password}@127.0.0.1:{port or self.port}/{database}"

    # --- life -------------------------------------------------------------------------------------------------------

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.recover()  # what a kill left of its System V memory goes with the next start
        self.stop()
        self._held.close()
        if kind is not None and self._log_path.exists():
            print(self._log_path.read_text(errors="replace")[-8000:])
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, *, wait: bool = True) -> None:
        """Starts it, or starts it again on the same data and port."""
        assert self._process is None, "it runs"
        options = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*WITH_US, str(binaries() / "postgres"), "-D", str(self._data), *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", env=_ENVIRONMENT, **_identity(),
            )  # fmt: skip
        if wait:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Until it accepts connections."""
        wait_for(self._accepts, "Postgres accepts connections", step_s=0.01)
        if self._kept:
            leaks.kept_children.update(process.pid for process in self._all_processes())

    def recover(self) -> None:
        """Runs again, and answers, whatever was done to it."""
        self.thaw()
        if self._process is None:
            self.start()

    def stop(self) -> None:
        """Ends it at once, as after `pg_ctl stop -m immediate`; its next start recovers."""
        self._end(signal.SIGQUIT)

    def restart(self) -> None:
        """Ends it in order, so that every connection is told, and starts it again."""
        self._end(signal.SIGINT)
        self.start()

    def kill(self) -> None:
        """SIGKILL for all of its processes."""
        processes = self._stopped()
        self._end(signal.SIGKILL)
        for process in processes:
            _send(process, signal.SIGKILL)
        wait_for(lambda: not any(_runs(process) for process in processes), "all of Postgres is dead", step_s=0.005)

    def freeze(self) -> None:
        """SIGSTOP for all of its processes: the kernel goes on accepting connections, nobody answers."""
        self._frozen = self._stopped()

    def thaw(self) -> None:
        """Lets them go on, those too that came meanwhile."""
        for process in self._frozen:
            _send(process, signal.SIGCONT)
        self._frozen = []

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(20.0)

    @property
    def _pid(self) -> int:
        assert self._process is not None, "it does not run"
        return self._process.pid

    def _all_processes(self) -> list[psutil.Process]:
        top = psutil.Process(self._pid)
        return [top, *top.children(recursive=True)]

    def _stopped(self) -> list[psutil.Process]:
        """All of its processes, stopped; the first one first, or it would start others meanwhile."""
        top = psutil.Process(self._pid)
        _send(top, signal.SIGSTOP)
        wait_for(lambda: top.status() == psutil.STATUS_STOPPED, "it has stopped", step_s=0.001)
        processes = self._all_processes()
        for process in processes:
            _send(process, signal.SIGSTOP)
        return processes

    def _accepts(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log_path.read_text(errors="replace")
        try:
            psycopg.connect(self.url(SUPERUSER, database="postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    # --- looking and preparing --------------------------------------------------------------------------------------

    @contextmanager
    def connection(self, role: str = OWNER, database: str = DATABASE) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """A connection of the test's own, committing each statement."""
        with psycopg.connect(self.url(role, database=database), autocommit=True, connect_timeout=5) as connection:
            yield connection

    def rows(self, query: str, parameters: Sequence[object] = (), *, role: str = OWNER) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self.connection(role) as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    def execute(self, statement: str, *, role: str = SUPERUSER) -> None:
        """Carries a statement out in the database of the tests."""
        with self.connection(role) as connection:
            connection.execute(statement.encode())


def _send(process: psutil.Process, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # ended meanwhile
        os.kill(process.pid, number)  # not psutil's, which sends nothing where it doubts that it is the same process


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
