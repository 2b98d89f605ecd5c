"""Looks at the engine of a runtime directory, whatever state it is in, and never for longer than a few seconds."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.client.admin import ask
from engine.errors import DeadlineExceeded, NotReady, PeerGone, ProtocolError
from engine.launch import has_socket, is_paused, keeper_pid, master_pids, supervisor_pid, was_killed
from frontend.cli.asking import STATUS_S
from frontend.cli.elsewhere import engines_elsewhere
from frontend.cli.verdict import Advice, EngineState, EngineVerdict, verdict_of


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen: the engine's own status document where it answered."""

    runtime_dir: str
    verdict: EngineVerdict
    document: dict[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """The document with the verdict beside what is in it; what nobody has told is null."""
        unknown: dict[str, Any] = {"supervisor": None, "deployments": None, "stores": None}
        return {"verdict": self.verdict.to_json(), "runtime_dir": self.runtime_dir, **(self.document or unknown)}


def look(runtime_dir: str) -> Sight:
    """Asks the engine, and where it does not answer finds out why."""
    try:
        document = ask(runtime_dir, "status", timeout_s=STATUS_S)
    except (NotReady, DeadlineExceeded, PeerGone):
        return Sight(runtime_dir, _silent(runtime_dir), None)
    except ProtocolError as error:  # another user, or another version
        who = _user(Path(runtime_dir).stat().st_uid) if os.path.isdir(runtime_dir) else "USER"
        advice = Advice(str(error), f"sudo -u {who} nightscan status, with the nightscan of that engine")
        verdict = EngineVerdict(EngineState.FOREIGN, "an engine runs that is not ours", (advice,))
        return Sight(runtime_dir, verdict, None)
    return Sight(runtime_dir, verdict_of(document), document)


def _silent(runtime_dir: str) -> EngineVerdict:
    owner = _other_owner(runtime_dir)
    if owner:
        advice = Advice(f"{runtime_dir} belongs to {owner}", f"sudo -u {owner} nightscan status")
        return EngineVerdict(EngineState.FOREIGN, "the folder cannot be looked into", (advice,))
    pid = supervisor_pid(runtime_dir)
    if pid:
        return _living(pid, runtime_dir)
    keeper, masters = keeper_pid(runtime_dir), master_pids(runtime_dir)
    if keeper or masters:
        who = f"its keeper (pid {keeper})" if keeper else f"gunicorn (pid {masters[0]})"
        advice = Advice(f"no supervisor lives, and {who} starts one", "nightscan status --watch")
        return EngineVerdict(EngineState.STARTING, "its supervisor is being started", (advice,))
    if was_killed(runtime_dir):
        return _stopped(runtime_dir, "its supervisor was killed")
    if os.path.isdir(runtime_dir):
        return _stopped(runtime_dir, "nobody listens")
    return _stopped(runtime_dir, "that is no folder" if os.path.lexists(runtime_dir) else "there is no such folder")


def _stopped(runtime_dir: str, why: str) -> EngineVerdict:
    """With the way to those that run in other places."""
    advice = [Advice(why, "nightscan serve; or name the folder of another engine: --runtime-dir FOLDER")]
    others = engines_elsewhere(runtime_dir)
    for each in others[:1]:
        more = f", and {len(others) - 1} more in other folders" if len(others) > 1 else ""
        advice.append(Advice(f"an engine runs in {each.runtime_dir}, as {each.user}{more}", each.command))
    return EngineVerdict(EngineState.STOPPED, "no engine runs here", tuple(advice))


def _living(pid: int, runtime_dir: str) -> EngineVerdict:
    on = "answers go on without it; deploying, scaling and healing do not"
    if is_paused(pid):
        advice = Advice(f"a signal has stopped the supervisor (pid {pid}); {on}", f"let it go on: kill -CONT {pid}")
    elif not has_socket(runtime_dir):
        advice = Advice(f"the supervisor (pid {pid}) does not listen yet", "nightscan status --watch")
        return EngineVerdict(EngineState.STARTING, "its supervisor has just been started", (advice,))
    else:
        again = f"if that lasts: kill -KILL {pid}; whoever keeps it starts another, which takes over"
        advice = Advice(f"the supervisor (pid {pid}) has not answered within {STATUS_S:.0f} s; {on}", again)
    return EngineVerdict(EngineState.STALLED, "its supervisor does not answer", (advice,))


def _other_owner(runtime_dir: str) -> str:
    """The user that the folder belongs to, or one above it that is closed, if we may not look into it."""
    path = Path(runtime_dir)
    while _is_hidden(path):
        path = path.parent
    if not path.is_dir() or os.access(path, os.R_OK | os.X_OK, effective_ids=True):
        return ""
    return _user(path.stat().st_uid)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"  # as sudo takes it


def _is_hidden(path: Path) -> bool:
    """Whether a folder above it is closed to us."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return False
