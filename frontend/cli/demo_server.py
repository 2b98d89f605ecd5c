"""A server for the demo: with everything of its own, on a free port, and gone at the end."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engine.clock import Deadline
from engine.config import Settings
from engine.errors import EngineError, NotReady
from engine.launch import keeper_pid, supervisor_pid
from frontend.cli.http_client import post_audio
from frontend.cli.serve_command import serve_command
from frontend.cli.verdict import last_line

START_S = 120.0
_END_S = 10.0
_LOOK_S = 0.2


def demo_settings(settings: Settings, folder: str) -> Settings:
    """Nothing of the demo reaches the engine, the journal or the Postgres that are there for something else."""
    return settings.changed(
        runtime_dir=os.path.join(folder, "run"), state_dir=os.path.join(folder, "state"), database_url="",
        bind_host="127.0.0.1", port=_free_port(), status_port=0, tuning="off", predict_log_file="",
    )  # fmt: skip


@contextmanager
def demo_server(settings: Settings, audio: bytes) -> Iterator[str]:
    """The address of one that has answered `audio`. Raises NotReady with the last that a failed one said.

    For the main thread of a command, which ends with it: no signal interrupts its end, which would leave a server.
    """
    with contextlib.ExitStack() as ending:
        folder = tempfile.mkdtemp(prefix="nightscan-demo-")
        ending.callback(shutil.rmtree, folder, ignore_errors=True)
        own, log = demo_settings(settings, folder), Path(folder) / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                serve_command(own), env={**os.environ, **own.to_environment()}, stdin=subprocess.DEVNULL,
                stdout=file, stderr=file, start_new_session=True,  # Ctrl-C is for us, who end it in order
            )  # fmt: skip
        ending.callback(_end, process, own.runtime_dir)
        ending.callback(_ignore_signals)
        url = f"http://127.0.0.1:{own.port}"
        _await_answer(url, audio, process, log)
        yield url


def _await_answer(url: str, audio: bytes, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = Deadline.after_s(START_S)
    pause = threading.Event()
    while process.poll() is None and not deadline.expired:
        try:
            post_audio(url, audio, timeout_s=START_S)
            return
        except EngineError:
            pause.wait(_LOOK_S)
    said = last_line(log.read_text(errors="replace")) or f"nothing within {START_S:.0f} s"
    raise NotReady(f"the demo's server did not start; it said: {said}; why: nightscan doctor")


def _ignore_signals() -> None:
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)


def _end(process: subprocess.Popen[bytes], runtime_dir: str) -> None:
    """Asked to leave, and made to if it does not; the engine, which follows by itself, would make its folder again."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    deadline, pause = Deadline.after_s(_END_S), threading.Event()
    pause.wait(_LOOK_S)  # it may have begun just now
    while (keeper_pid(runtime_dir) or supervisor_pid(runtime_dir)) and not deadline.expired:
        pause.wait(_LOOK_S)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
