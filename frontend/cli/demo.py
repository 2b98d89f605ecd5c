"""`nightscan demo`: see the engine work without a recording, a model or a second terminal."""

from __future__ import annotations

import io
import math
import os
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import wave
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import click

from engine.clock import NS_PER_MS, NS_PER_S, Deadline, now_ns
from engine.config import load_settings
from engine.errors import EngineError, NotReady
from frontend.cli.http_client import post_audio
from frontend.cli.serve_command import serve_command
from frontend.cli.view import prediction_view

_START_S = 120.0
_RATE_HZ = 22_050
_LENGTH_S = 3
_END_S = 10.0


@click.command()
@click.option("--mode", type=click.Choice(["demo", "benchmark", "server"]), default="demo", show_default=True)
@click.option("--requests", type=click.IntRange(1), default=100, show_default=True, help="Of the benchmark.")
@click.option("--concurrency", type=click.IntRange(1), default=8, show_default=True, help="Of the benchmark.")
def demo(mode: str, requests: int, concurrency: int) -> None:
    """See the engine at work: one prediction, a small benchmark, or a server to try by hand."""
    if mode == "server":
        _, command = serve_command(load_settings(), None, ())
        os.execvp(command[0], command)
    try:
        with _server() as url:
            if mode == "demo":
                click.echo(prediction_view(post_audio(url, _chirps())), nl=False)
            else:
                _benchmark(url, requests, concurrency)
    except EngineError as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def _server() -> Iterator[str]:
    """A server of its own, on a free port, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="nightscan-demo-") as folder:
        settings = load_settings().changed(runtime_dir=os.path.join(folder, "run"), port=_free_port())
        more, command = serve_command(settings, None, ())
        environment = {**os.environ, **settings.to_environment(), **more}
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            url = f"http://127.0.0.1:{settings.port}"
            _await_answer(url, process)
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_END_S)


def _await_answer(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = Deadline.after_s(_START_S)
    pause = threading.Event()
    while process.poll() is None and not deadline.expired:
        try:
            post_audio(url, _chirps())
            return
        except EngineError:
            pause.wait(0.2)
    raise NotReady("the demo server did not start; try `nightscan serve` to see why")


def _benchmark(url: str, requests: int, concurrency: int) -> None:
    audio = _chirps()

    def one(_: int) -> float:
        began_ns = now_ns()
        post_audio(url, audio)
        return (now_ns() - began_ns) / NS_PER_MS

    began_ns = now_ns()
    with ThreadPoolExecutor(concurrency) as pool:
        times_ms = sorted(pool.map(one, range(requests)))
    took_s = (now_ns() - began_ns) / NS_PER_S
    p50_ms, p95_ms = times_ms[len(times_ms) // 2], times_ms[int(len(times_ms) * 0.95)]
    click.echo(
        f"{requests} requests, {concurrency} at a time: {requests / took_s:.1f} requests/s, "
        f"median {p50_ms:.1f} ms, 95 % within {p95_ms:.1f} ms"
    )


def _chirps() -> bytes:
    """Rising tones with pauses, a little like a frog: WAV, 16 bit, mono."""
    samples = []
    for index in range(_RATE_HZ * _LENGTH_S):
        since_s = (index / _RATE_HZ) % 0.5
        loud = max(0.0, math.sin(math.pi * since_s / 0.2)) if since_s < 0.2 else 0.0
        samples.append(int(20_000 * loud * math.sin(2 * math.pi * (1200 + 3000 * since_s) * since_s)))
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, _RATE_HZ, 0, "NONE", ""))
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return buffer.getvalue()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
