"""Engines of other runtime directories on this machine: who asks in the wrong place is shown the right one."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

_MODULE, _OPTION = "engine.supervisor", "--runtime-dir"


@dataclass(frozen=True, slots=True)
class EngineElsewhere:
    """One that runs: where, and as whom."""

    runtime_dir: str
    user: str
    is_ours: bool  # of the user that asks

    @property
    def command(self) -> str:
        """How to look at it. Anybody can have started a process with such a name in its command line."""
        who = "" if self.is_ours else f"sudo -u {self.user} "
        return f"{who}nightscan status --runtime-dir {shlex.quote(self.runtime_dir)}"


def engines_elsewhere(runtime_dir: str) -> list[EngineElsewhere]:
    """All but the one of `runtime_dir`, as far as the system shows other users' processes; ours first."""
    found = {each.runtime_dir: each for each in _engines() if each.runtime_dir != os.path.abspath(runtime_dir)}
    return sorted(found.values(), key=lambda each: (not each.is_ours, each.runtime_dir))


def _engines() -> Iterator[EngineElsewhere]:
    for process in psutil.process_iter(["cmdline", "username", "uids"]):
        command, uids = process.info["cmdline"] or [], process.info["uids"]
        if _MODULE in command and _OPTION in command[:-1] and uids is not None:
            place = command[command.index(_OPTION) + 1]
            yield EngineElsewhere(place, str(process.info["username"]), uids.effective == os.geteuid())
