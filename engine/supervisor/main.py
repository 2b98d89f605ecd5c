"""The supervisor's main program: lock, settings, loop. Ends with a code of `engine.core.lifecycle.ExitCode`."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import logging
import resource
import signal
from collections.abc import Sequence

from engine.config import ineffective_settings, load_settings
from engine.core.lifecycle import ExitCode
from engine.errors import ConfigError, SupervisorRunning, UnsupportedPlatform
from engine.launch import check_platform, prepare_runtime_dir
from engine.messages import MOST_FDS
from engine.supervisor.locks import SUPERVISOR_LOCK, LockFile, last_holder
from engine.supervisor.log import set_up_logging
from engine.supervisor.loop import Loop
from engine.supervisor.masters import MasterWatch
from engine.supervisor.options import SupervisorOptions
from engine.supervisor.supervisor import Supervisor

_FDS_BESIDE_LANES = 2  # segment and doorbell
_DESCRIPTORS = 16_384

_log = logging.getLogger("engine.supervisor")


def main(arguments: Sequence[str], *, instance_command: Sequence[str] | None = None) -> int:
    """Runs until told to stop. `instance_command` starts an instance, in place of our own module."""
    parser = argparse.ArgumentParser(prog="python -m engine.supervisor")
    parser.add_argument("--runtime-dir", help="default: the setting of that name")
    parser.add_argument("--embedded", action="store_true", help="leave when no registered gunicorn master lives")
    given = parser.parse_args(arguments)
    set_up_logging()
    try:
        check_platform()
        options = _options(given.runtime_dir, instance_command)
        run(options, embedded=given.embedded)
    except ConfigError as error:
        _log.error("%s", error)
        return ExitCode.BAD_CONFIG
    except UnsupportedPlatform as error:
        _log.error("%s", error)
        return ExitCode.UNSUPPORTED
    except SupervisorRunning as error:
        _log.error("%s", error)
        return ExitCode.LOCKED
    return ExitCode.CLEAN


def run(options: SupervisorOptions, *, embedded: bool) -> None:
    """Takes the lock and serves until SIGTERM, SIGINT or, if `embedded`, the death of the last master.

    Raises SupervisorRunning.
    """
    path = options.runtime_dir / SUPERVISOR_LOCK
    lock = LockFile.try_take(path, embedded=embedded)
    if lock is None:
        holder = last_holder(path)
        named = f" (pid {holder.pid})" if holder is not None else ""
        raise SupervisorRunning(f"a supervisor{named} runs in {options.runtime_dir} already")
    _allow_descriptors()
    with contextlib.ExitStack() as stack:
        stack.callback(lock.release)
        loop = Loop()
        stack.callback(loop.close)
        supervisor = Supervisor(options, loop)
        stack.callback(supervisor.close)
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.on_signal(signum, supervisor.shut_down)
        if embedded:
            watch = MasterWatch(loop, options.runtime_dir, supervisor.shut_down)
            stack.callback(watch.close)
            loop.call_after(0.0, watch.look)
        supervisor.start()
        loop.run()


def _allow_descriptors() -> None:
    """Segments, bells, pidfds and connections of a large machine are more than the usual 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _options(runtime_dir: str | None, instance_command: Sequence[str] | None) -> SupervisorOptions:
    settings = load_settings()
    for line in ineffective_settings(settings):
        _log.warning("%s", line)
    path = prepare_runtime_dir(runtime_dir or settings.runtime_dir)
    options = SupervisorOptions.from_settings(settings, path)
    if options.lanes + _FDS_BESIDE_LANES > MOST_FDS:
        raise ConfigError(f"workers={settings.workers}: {options.lanes} lanes, at most {MOST_FDS - _FDS_BESIDE_LANES}")
    if instance_command is None:
        return options
    return dataclasses.replace(options, instance_command=tuple(instance_command))
