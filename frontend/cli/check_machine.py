"""What the machine has for the engine: memory, descriptors, room on the disk, CUDA devices."""

from __future__ import annotations

import glob
import importlib.metadata
import os
import resource
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from engine.client.memory_left import memory_left_bytes
from engine.config import Settings, cores_of, effective_pool_size, ineffective_settings
from engine.errors import UnsupportedPlatform
from engine.launch import check_platform
from engine.stores.archive_schema import damaged
from frontend.cli.check import Check, broken, warning, well

_MB = 1024 * 1024
_INSTANCE_MB = 400  # what one with the shipped model takes, with torch (measured: 350 to 370)
_FRONTEND_MB = 80
_LEAST_LEFT_MB = 256
_CLEARLY_LESS = 0.9  # both figures move while they are read
_SAMPLE_BYTES = 4
_SPARE_DESCRIPTORS = 200  # of a frontend, beside its connections
_LEAST_DISK_MB = 512


def check_settings(settings: Settings) -> Check:
    """They could be read; what of them nothing acts on."""
    given = [name for name, source in settings.sources.items() if source != "default"]
    idle = ineffective_settings(settings)
    if idle:
        return warning("settings", idle[0], "take it out; what is in force: nightscan config")
    return well("settings", f"{len(given)} set, the others at their defaults; all: nightscan config")


def check_machine(pid: int) -> Check:
    """Whether the engine runs on this kernel and processor at all, and the cores that its supervisor `pid` may use.

    0: no supervisor; those of this command.
    """
    try:
        check_platform()
    except UnsupportedPlatform as error:
        return broken("machine", str(error), "run it on x86-64 Linux 5.4 or newer")
    return well("machine", f"{cores_of(pid)}, Linux {os.uname().release}")


def check_memory(settings: Settings, status: Mapping[str, Any] | None) -> Check:
    """What is left against what an engine that starts will take, or one that runs may still want."""
    if status:
        return _memory_of_running(status)
    left_mb, needed_mb = memory_left_bytes() // _MB, _needed_mb(settings)
    text = f"{left_mb} MB left{_bound(left_mb)}, the engine takes about {needed_mb} MB"
    if left_mb < needed_mb:
        return warning("memory", text, "a smaller model_pool_size, workers, lane_slots or cache_l1_mb, or more memory")
    return well("memory", text)


def _memory_of_running(status: Mapping[str, Any]) -> Check:
    left_mb = memory_left_bytes(status["supervisor"]["pid"]) // _MB
    segments = sum(version["segment_bytes"] for each in status["deployments"] for version in each["versions"])
    text = f"{left_mb} MB left{_bound(left_mb)}, shared segments take {segments / _MB:.1f} MB"
    if left_mb < _LEAST_LEFT_MB:
        return warning("memory", text, "a smaller model_pool_size, workers or cache_l1_mb, or more memory (MemoryMax=)")
    return well("memory", text)


def _bound(left_mb: int) -> str:
    """What leaves so little, where it is not the machine."""
    machine_mb = psutil.virtual_memory().available // _MB
    return " by the control group" if left_mb < _CLEARLY_LESS * machine_mb else ""


def _needed_mb(settings: Settings) -> int:
    pool = effective_pool_size(settings, cores_of().count)
    slots = 2 * settings.workers * settings.lane_slots
    window_bytes = settings.segment_s * settings.sample_rate_hz * _SAMPLE_BYTES
    segment_mb = slots * window_bytes / _MB
    return round(pool * _INSTANCE_MB + settings.workers * _FRONTEND_MB + segment_mb + settings.cache_l1_mb)


def check_descriptors(settings: Settings, pid: int) -> Check:
    """The limit against what a frontend may open, and what the supervisor has open."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = settings.max_connections + _SPARE_DESCRIPTORS
    used = _open_descriptors(pid) if pid else 0
    told = f"{'no limit' if most == resource.RLIM_INFINITY else most}, a frontend wants {wanted}"
    text = f"{told}, the supervisor has {used}" if used else told
    if most != resource.RLIM_INFINITY and most < wanted:
        return warning("descriptors", text, f"ulimit -n {wanted}, LimitNOFILE={wanted} of the unit, or max_connections")
    return well("descriptors", text)


def _open_descriptors(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def check_disk(settings: Settings) -> Check:
    """Where the journal lies, and what is learnt of models."""
    path = Path(settings.state_dir)
    there = next(each for each in (path, *path.parents) if each.is_dir())
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
        do = "chown it to the user of the engine, or another state_dir, or journal=off"
        return broken("disk", f"{there} cannot be written", do)
    free_mb = shutil.disk_usage(there).free // _MB
    text = f"{free_mb} MB free for {path}"
    if free_mb < _LEAST_DISK_MB:
        return warning("disk", text, "nightscan journal prune --older-than 7d, or another state_dir")
    if settings.journal == "on" and free_mb < settings.journal_max_mb:
        text = f"{text}, less than journal_max_mb={settings.journal_max_mb}"
        return warning("disk", text, "a smaller journal_max_mb, or another state_dir")
    if kept := damaged(path):
        text = f"a damaged journal was set aside as {kept[-1]}" + (f", and {len(kept) - 1} more" if kept[1:] else "")
        return warning("disk", text, "remove it once it has been looked at; what can be saved: sqlite3 FILE .recover")
    return well("disk", text)


def check_gpu(settings: Settings) -> Check:
    """CUDA devices that are there and not used."""
    devices = len(glob.glob("/dev/nvidia[0-9]*"))
    torch = _torch_version()
    if not devices:
        return well("cuda", f"no device; the processor computes (torch {torch})")
    if torch.endswith("+cpu"):
        do = "a torch with CUDA: .venv/bin/pip install torch --index-url of your CUDA version, see pytorch.org"
        return warning("cuda", f"{devices} devices are there, and torch {torch} is built for the processor alone", do)
    if settings.devices != "auto" and "cuda" not in settings.devices:
        text = f"{devices} devices are there, and devices={settings.devices} ({settings.sources['devices']})"
        return warning("cuda", text, "devices=auto, if they shall be used")
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return warning("cuda", f"{devices} devices are there, CUDA_VISIBLE_DEVICES hides them", "unset it")
    return well("cuda", f"{devices} devices, torch {torch}")


def _torch_version() -> str:
    """Without importing it."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return "is not installed"
