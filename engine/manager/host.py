"""Where a manager's engine runs: one that is there already, or one of its own that ends with this process.

An engine is joined in the configured runtime directory if one listens there or if the directory was chosen by somebody;
otherwise a private directory is made. Either way this process registers with the keeper, so that the engine stays while
any of its users lives and is gone when the last one is, even if that one was killed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from engine.client import EngineClient
from engine.config import Settings
from engine.errors import NotReady
from engine.launch import check_platform, prepare_runtime_dir, start_keeper, stop_keeper
from engine.launch import private
from engine.messages import connect
from engine.stores.process_stores import ProcessStores

ATTACH_S = 60.0
STOP_S = 15.0  # the keeper bounds a supervisor's end well below this

# A process of its own, because the settings go to the keeper by the environment, and ours is not to be changed.
_STARTER = "import sys; from engine import launch; getattr(launch, sys.argv[1])(sys.argv[2], int(sys.argv[3]))"


class EngineHost:
    """Starts or joins, attaches, and lets go."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._private: Path | None = None  # a directory of our own, removed at the end
        self._runtime_dir = settings.runtime_dir
        self.client: EngineClient | None = None
        self.stores: ProcessStores | None = None

    def start(self) -> EngineClient:
        """Raises NotReady when no engine comes up, ConfigError or UnsupportedPlatform when none can."""
        check_platform()
        if _listens(self._runtime_dir):
            start_keeper(self._runtime_dir, os.getpid())
        else:
            if self.settings.sources["runtime_dir"] == "default":
                private.sweep()
                self._private = private.make()
                self._runtime_dir = str(self._private)
            self._launch("start_keeper")
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            # A manager keeps its journal; its answers are cached by whatever it was given, and it asks no original: it
            # borrows no connections that frontends have use for.
            journal_alone = self.settings.changed(redis_url="", original_api_url="", cache_l1_mb=0)
            self.stores = ProcessStores.open(journal_alone)
            self.client = EngineClient.attach(
                runtime_dir=self._runtime_dir,
                wait_s=ATTACH_S,
                settings=self.settings,
                ensure=lambda: self._launch("ensure_keeper"),
            )
            self.client.machines.follow(self.stores.meet)
            undo.pop_all()
        return self.client

    def stop(self) -> None:
        """Closes client and stores; the engine ends unless others use it. Idempotent."""
        client, self.client = self.client, None
        if client is not None:
            client.close()
        stores, self.stores = self.stores, None
        if stores is not None:
            stores.close()
        stop_keeper(self._runtime_dir, STOP_S)
        if self._private is not None:
            shutil.rmtree(self._private, ignore_errors=True)

    def _launch(self, function: str) -> None:
        """Calls `engine.launch.function` with our settings, and nothing deployed at the start."""
        try:
            self._run_starter(function)
        except OSError as error:
            raise NotReady(f"the engine cannot be started in {self._runtime_dir}: {error}") from error

    def _run_starter(self, function: str) -> None:
        settings = self.settings.changed(runtime_dir=self._runtime_dir, enabled=False)
        if self._private is not None:
            private.mark(prepare_runtime_dir(self._private))  # a cleaner of temporary files may have removed it
            settings = settings.changed(workers=1)  # nobody else comes: lanes for more would be memory for nothing
        command = [sys.executable, "-c", _STARTER, function, self._runtime_dir, str(os.getpid())]
        with self._output() as log:
            done = subprocess.run(
                command,
                env={**os.environ, **settings.to_environment()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=False,
            )
        if done.returncode != 0:
            raise NotReady(f"the engine did not start in {self._runtime_dir}{self._last_words()}")

    def _output(self) -> contextlib.AbstractContextManager[int | None]:
        """Where the engine's own log goes: beside a private engine, else where ours goes."""
        if self._private is None:
            return contextlib.nullcontext()
        return _appending(self._private / "engine.log")

    def _last_words(self) -> str:
        try:
            text = "" if self._private is None else (self._private / "engine.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""
        lines = text.strip().splitlines()
        return f": {lines[-1]}" if lines else ""


@contextlib.contextmanager
def _appending(path: Path) -> Iterator[int | None]:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _listens(runtime_dir: str) -> bool:
    try:
        connect(runtime_dir).close()
    except NotReady:
        return False
    return True
