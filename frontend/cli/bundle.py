"""A file for whoever helps: settings, status, versions, what the doctor found, the end of the log. No secret in it."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import io
import json
import os
import platform
import re
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from engine.clock import wall_clock_s
from engine.config import Settings, declared, effective_settings
from engine.errors import BrokenError
from engine.launch import master_pids, supervisor_pid
from frontend.cli.looking import Sight
from frontend.cli.settings_here import engine_variables

_LOG_BYTES = 256 * 1024
_HIDDEN = "***"
_CREDENTIALS = re.compile(r"(://)[^/\s@\"']*(@)|(\b(?:password|passwd|token|secret)=)[^&\s\"'\\]+", re.IGNORECASE)
_LEAST_SECRET = 4  # characters; anything shorter stands everywhere by chance


def write_bundle(path: Path, settings: Settings, sight: Sight, found: dict[str, Any], text: str) -> None:
    """A new file, 0600. Raises BrokenError where there is one already, OSError."""
    secrets = _secrets(settings)
    entries = {name: _masked(content, secrets) for name, content in _entries(settings, sight, found, text)}
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise BrokenError(f"{path} is there already: name a new file") from error
    with contextlib.ExitStack() as undo:
        undo.callback(path.unlink, missing_ok=True)  # half of one helps nobody
        try:
            with os.fdopen(fd, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
                for name, content in entries.items():
                    _add(archive, name, content.encode(errors="replace"))
        except OSError as error:
            raise BrokenError(f"{path} cannot be written: {error.strerror or error}") from error
        undo.pop_all()


def _entries(settings: Settings, sight: Sight, found: dict[str, Any], text: str) -> Iterator[tuple[str, str]]:
    yield "doctor.txt", text + "\n"
    yield "doctor.json", _json(found)
    yield "status.json", _json(sight.to_json())
    yield "config.json", _json([dataclasses.asdict(each) for each in effective_settings(settings)])
    yield "versions.json", _json(_versions())
    for name, pid in _programs(settings.runtime_dir):
        if log := _log_of(pid):
            yield f"{name}.log", log


def _versions() -> dict[str, Any]:
    own = {
        each.metadata["Name"]: each.version for each in importlib.metadata.distributions() if each.metadata["Name"]
    }
    return {"python": platform.python_version(), "system": platform.platform(), "packages": dict(sorted(own.items()))}


def _programs(runtime_dir: str) -> Iterator[tuple[str, int]]:
    if pid := supervisor_pid(runtime_dir):
        yield "supervisor", pid
    for pid in master_pids(runtime_dir):
        yield f"gunicorn-{pid}", pid


def _log_of(pid: int) -> str:
    """The end of the file that the process writes its log to; empty where that is no file, or not ours to read."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/fd/2", "rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode):
            file.seek(max(0, status.st_size - _LOG_BYTES))
            return file.read(_LOG_BYTES).decode(errors="replace")
    return ""


def _secrets(settings: Settings) -> list[str]:
    """Values that must not be in it, and the parts of addresses by which somebody could log in; the longest first."""
    found: set[str] = set()
    for value in _secret_values(settings):
        found |= {value, *_parts(value)}
    with contextlib.suppress(OSError):
        found.add((Path(settings.runtime_dir) / "admin.token").read_text(errors="replace").strip())
    found |= {json.dumps(each)[1:-1] for each in found}
    return sorted((each for each in found if len(each) >= _LEAST_SECRET), key=len, reverse=True)


def _secret_values(settings: Settings) -> Iterator[str]:
    """In force or not: the engine, whose log it is, may have others than this shell, and what is ignored is logged."""
    variables = [os.environ, engine_variables(settings.runtime_dir)]
    for each in declared():
        if each.rule.secret:
            names = (each.environment_variable, each.rule.bare_variable)
            found = [getattr(settings, each.name), *(known.get(name) for known in variables for name in names)]
            yield from (value for value in found if isinstance(value, str) and value)


def _parts(address: str) -> Iterator[str]:
    with contextlib.suppress(ValueError):
        place = urlsplit(address)
        for text in (place.password, place.query, *(part.partition("=")[2] for part in place.query.split("&"))):
            if text:
                yield from (text, unquote(text))


def _masked(text: str, secrets: list[str]) -> str:
    for each in secrets:
        text = text.replace(each, _HIDDEN)
    return _CREDENTIALS.sub(rf"\1\3{_HIDDEN}\2", text)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, default=str) + "\n"


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(f"nightscan/{name}")
    entry.size, entry.mode, entry.mtime = len(content), 0o600, int(wall_clock_s())
    archive.addfile(entry, io.BytesIO(content))
