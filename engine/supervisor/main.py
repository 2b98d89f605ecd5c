"""The supervisor's main program: lock, settings, loop. Ends with a code of `engine.core.lifecycle.ExitCode`."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import resource
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.config import ineffective_settings, load_settings
from engine.core.lifecycle import ExitCode
from engine.errors import ConfigError, MixedLayouts, SupervisorRunning, UnsupportedPlatform
from engine.launch.locks import SUPERVISOR_LOCK, LockFile, hidden_holder, last_holder
from engine.launch.preconditions import check_platform, prepare_runtime_dir
from engine.launch.private import remove_if_over
from engine.launch.service_manager import ServiceManager
from engine.messages import MOST_FDS
from engine.observe.log import set_log_level, set_up_logging
from engine.supervisor.folder import RuntimeFolder
from engine.supervisor.ledger import STATE_FILE
from engine.supervisor.loop import Loop
from engine.supervisor.master_watch import MasterWatch
from engine.supervisor.mixed_layouts import check_layout
from engine.supervisor.options import SupervisorOptions
from engine.supervisor.service_report import ServiceReport
from engine.supervisor.supervisor import Supervisor

_FDS_BESIDE_LANES = 3  # segment and doorbell, and the pidfd of an instance that comes back with them
_DESCRIPTORS = 16_384

_log = logging.getLogger("engine.supervisor")


def main(arguments: Sequence[str], **changed: Any) -> int:
    """Runs until told to stop. `changed`: fields of SupervisorOptions that are other than the settings say."""
    parser = argparse.ArgumentParser(prog="python -m engine.supervisor")
    parser.add_argument("--runtime-dir", help="default: the setting of that name")
    parser.add_argument("--embedded", action="store_true", help="leave when no registered gunicorn master lives")
    given = parser.parse_args(arguments)
    set_up_logging()
    try:
        check_platform()
        options = dataclasses.replace(_options(given.runtime_dir), **changed)
        check_layout(options.runtime_dir / STATE_FILE)
        run(options, embedded=given.embedded)
    except ConfigError as error:
        _log.error("%s", error)
        return ExitCode.BAD_CONFIG
    except UnsupportedPlatform as error:
        _log.error("%s", error)
        return ExitCode.UNSUPPORTED
    except MixedLayouts as error:
        _log.error("%s", error)
        return ExitCode.MIXED_LAYOUTS
    except SupervisorRunning as error:
        _log.error("%s", error)
        return ExitCode.LOCKED
    except OSError as error:  # of the lock; no instance has been met yet, and a keeper tries again
        _log.error("cannot start in %s: %s", given.runtime_dir, error)
        return ExitCode.NO_LOCK
    return ExitCode.CLEAN


def run(options: SupervisorOptions, *, embedded: bool) -> None:
    """Takes the lock and serves until SIGTERM, SIGINT or, if `embedded`, the death of the last master.

    Raises SupervisorRunning. Instances are ended by an order alone: should anything else end this process, it leaves
    them, and its name in the lock, to a successor.
    """
    _allow_descriptors()
    manager = _service_manager(embedded=embedded)
    loop = Loop()
    follows = last_holder(options.runtime_dir / SUPERVISOR_LOCK) is not None
    supervisor = Supervisor(options, loop, follows=follows)
    # Before the lock names this process: whoever finds it there may end it at once, and its instances with it.
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.on_signal(signum, supervisor.shut_down)
    try:
        lock = _locked(options.runtime_dir, embedded=embedded)
    except (OSError, SupervisorRunning):
        supervisor.end_work()
        loop.close()
        raise
    watch = MasterWatch(loop, options.runtime_dir, supervisor.shut_down) if embedded else None
    if watch is not None:
        loop.call_after(0.0, watch.look)
    folder = RuntimeFolder(
        loop,
        options.runtime_dir,
        lock=lock.keep,
        masters=watch,
        files=supervisor.keep_files,
        slow_work=supervisor.slow_work,
    )
    report = ServiceReport(
        loop, manager, deployments=lambda: supervisor.deployments, is_leaving=lambda: supervisor.leaving
    )
    loop.call_after(0.0, report.beat)
    loop.call_after(0.0, supervisor.start)
    loop.call_after(0.0, folder.look)
    loop.run()
    report.end()
    supervisor.close()
    if watch is not None:
        watch.close()
    loop.close()
    lock.release()
    remove_if_over(options.runtime_dir)


def _service_manager(*, embedded: bool) -> ServiceManager:
    """Embedded, the service is gunicorn's, whose frontends say when they are ready."""
    given = ServiceManager.taken_from(os.environ)
    return ServiceManager() if embedded else given


def _locked(runtime_dir: Path, *, embedded: bool) -> LockFile:
    """Raises SupervisorRunning, also if the file of the other one's lock was removed."""
    path = runtime_dir / SUPERVISOR_LOCK
    lock = LockFile.try_take(path, embedded=embedded)
    holder = last_holder(path) if lock is None else None
    other = holder.pid if holder is not None else hidden_holder(path)
    if lock is None or other:
        if lock is not None:
            lock.release()
        named = f" (pid {other})" if other else ""
        raise SupervisorRunning(f"a supervisor{named} runs in {runtime_dir} already")
    return lock


def _allow_descriptors() -> None:
    """Segments, bells, pidfds and connections of a large machine are more than the usual 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _options(runtime_dir: str | None) -> SupervisorOptions:
    settings = load_settings()
    set_log_level(settings.log_level)
    for line in ineffective_settings(settings):
        _log.warning("%s", line)
    path = prepare_runtime_dir(runtime_dir or settings.runtime_dir)
    options = SupervisorOptions.from_settings(settings, path)
    if options.lanes + _FDS_BESIDE_LANES > MOST_FDS:
        raise ConfigError(f"workers={settings.workers}: {options.lanes} lanes, at most {MOST_FDS - _FDS_BESIDE_LANES}")
    return options
