"""Where the engine lives: its runtime directory and its ports, and who has them instead."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

import psutil

from engine.launch import keeper_pid, master_pids, supervisor_pid
from frontend.cli.check import Check, broken, warning, well


def check_runtime_dir(runtime_dir: str) -> Check:
    """Owner, rights, and whether it can be made."""
    path = Path(runtime_dir)
    try:
        found = path.stat()
    except PermissionError:
        return broken("runtime_dir", f"{path} is closed to us", "run this as the user of the engine")
    except OSError:
        return _not_there(path)
    if not stat.S_ISDIR(found.st_mode):
        return broken("runtime_dir", f"{path} is no folder", "another runtime_dir")
    if found.st_uid != os.geteuid():
        return broken("runtime_dir", f"{path} belongs to uid {found.st_uid}", "run this as that user, or name another")
    if stat.S_IMODE(found.st_mode) & 0o077:
        return warning("runtime_dir", f"{path} is open to others", f"chmod 700 {path}")
    return well("runtime_dir", f"{path}, for this user alone")


def _not_there(path: Path) -> Check:
    above = next(each for each in path.parents if each.is_dir())
    if not os.access(above, os.W_OK | os.X_OK, effective_ids=True):
        return broken("runtime_dir", f"{path} cannot be made in {above}", "another one: --runtime-dir FOLDER")
    return well("runtime_dir", f"{path}, which the start will make")


def check_port(name: str, host: str, port: int, runtime_dir: str) -> Check:
    """Whether it is free, or has one of ours behind it. Without a port there is nothing to check."""
    what = "port" if name == "http" else "status_port"
    if not port:
        return well(name, f"{what}=0: none is taken")
    trouble = _cannot_bind(host, port)
    if trouble == 0:
        return well(name, f"{host}:{port} is free")
    if trouble != errno.EADDRINUSE:
        return broken(name, f"{host}:{port}: {os.strerror(trouble)}", f"another {what}, or another address to bind to")
    pid, program = _listener(port)
    if pid in _ours(runtime_dir):
        return well(name, f"{host}:{port}, served by {program} (pid {pid})")
    who = f"{program} (pid {pid})" if pid else "a process of another user"
    return warning(name, f"{host}:{port} is taken by {who}", f"another {what}, or end that one")


def _cannot_bind(host: str, port: int) -> int:
    """The number of the error; 0 where it could be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            probe.listen(1)
    except socket.gaierror:
        return errno.EADDRNOTAVAIL
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _listener(port: int) -> tuple[int, str]:
    """Pid and name of whoever listens; 0 where that is hidden from us."""
    with contextlib.suppress(psutil.Error, OSError):
        for each in psutil.net_connections("inet"):
            if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port and each.pid:
                return each.pid, psutil.Process(each.pid).name()
    return 0, ""


def _ours(runtime_dir: str) -> set[int]:
    """Supervisor, keeper, gunicorn masters and their workers."""
    first = {supervisor_pid(runtime_dir), keeper_pid(runtime_dir), *master_pids(runtime_dir)} - {0}
    found = set(first)
    for pid in first:
        with contextlib.suppress(psutil.Error):
            found |= {each.pid for each in psutil.Process(pid).children(recursive=True)}
    return found
