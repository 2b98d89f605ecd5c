"""Starts one server at a time, waits until it answers, and leaves nothing of it behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import end_all
from benchmarks.rivals.asking import Unreachable, ask
from benchmarks.rivals.contender import Contender, Launch, Site
from benchmarks.rivals.environments import Environments
from benchmarks.rivals.free_ports import free_ports
from benchmarks.rivals.plans import ROOT
from benchmarks.workloads import WORKLOAD_VARIABLE, Workload

READY_S = 120.0
STOP_S = 8.0  # some of them never end by themselves
_PREPARE_S = 120.0
_PORTS = 5
_LOG_BYTES = 2000
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class NotServing(Exception):
    """A server that cannot be started, ends, or gives no answer in time."""


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    url: str
    first_200_s: float


@contextlib.contextmanager
def running(contender: Contender, workload: Workload, environments: Environments) -> Iterator[Running]:
    """Starts it, with its own process group; ends it and all it started. Raises NotServing."""
    if reason := environments.missing(contender.plan):
        raise NotServing(reason)
    with tempfile.TemporaryDirectory(prefix="ns-compare-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder)
        bin_folder = environments.python(contender.plan).parent
        with free_ports(_PORTS) as ports:
            site = Site(bin_folder, environments.packages(contender.plan), ports, scratch, workload)
            launch = contender.launch(site)
        url = f"http://127.0.0.1:{ports[0]}{contender.path}"
        with _started(launch, site) as (process, log):
            began = time.monotonic()
            _wait_for_200(process, contender, url, workload, log)
            yield Running(url, time.monotonic() - began)


@contextlib.contextmanager
def _started(launch: Launch, site: Site) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    log = site.scratch / "server.log"
    variables = _variables(launch, site)
    with log.open("wb") as output:
        for command in launch.before:
            _prepare(command, variables, site.scratch)
        process = subprocess.Popen(
            launch.command,
            env=variables,
            cwd=site.scratch,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # what is typed at the terminal reaches us, who end it
        )
    try:
        yield process, log
    finally:
        end_all(process, patience_s=STOP_S)
        _remove_shared(launch.shared)


def _variables(launch: Launch, site: Site) -> dict[str, str]:
    """What a server is told by its environment: one thread, the project's folder, no GPU, files in its own folder."""
    temporary = site.scratch / "tmp"
    temporary.mkdir()
    return {
        **os.environ,
        **_ONE_THREAD,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "TMPDIR": str(temporary),
        WORKLOAD_VARIABLE: site.workload.name,
        **launch.variables,
    }


def _prepare(command: list[str], variables: dict[str, str], folder: Path) -> None:
    try:
        done = subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, timeout=_PREPARE_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotServing(str(error)) from error
    if done.returncode != 0:
        raise NotServing(f"{Path(command[0]).name}: {_last_line(done.stderr)}")


def _wait_for_200(
    process: subprocess.Popen[bytes], contender: Contender, url: str, workload: Workload, log: Path
) -> None:
    give_up_at = time.monotonic() + READY_S
    last = "nothing listens"
    while time.monotonic() < give_up_at:
        if process.poll() is not None:
            raise NotServing(f"ended with {process.returncode}: {_end_of(log)}")
        try:
            status, body = ask(url, workload.bodies[0], contender.envelope)
        except Unreachable as error:
            last = str(error)
        else:
            if status == 200:
                return
            last = f"{status} {body[:200]!r}"
        time.sleep(0.02)
    raise NotServing(f"no answer with 200 within {READY_S:g} s ({last}): {_end_of(log)}")


def _end_of(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _LOG_BYTES))
        return _last_line(file.read().decode(errors="replace"))


def _last_line(text: str) -> str:
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no word")


def _remove_shared(prefix: str) -> None:
    """What a killed server left in shared memory under names that only it has."""
    if prefix:
        for path in Path("/dev/shm").glob(f"{prefix}*"):
            path.unlink(missing_ok=True)


def end_on_term() -> None:
    """Lets TERM end this process as an interrupt does: with all that it started."""
    # by itself, since an interrupt is ignored in what a shell starts in the background
    signal.signal(signal.SIGTERM, signal.default_int_handler)
