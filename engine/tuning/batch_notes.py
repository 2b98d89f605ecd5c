"""What instances have learnt of batch sizes, on disk: `state_dir/tuning/batches/NAME.json`, one small file a model.

NAME is a hash over the version of the model, its device and its threads. Any instance of them may write, the last one
wins, and nobody needs a lock: a file is replaced as a whole, and what is damaged says nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

from engine.core.batch_size import BatchRecord
from engine.core.ceiling import CeilingRecord
from engine.core.latency_curve import Measured
from engine.tuning.key import processor_name

FORMAT = 1
KEPT_FILES = 64  # of models that were served before: those that were written last
_LONGEST_BYTES = 16 * 1024  # of a file; ours have some three thousand at most
_LONGEST_NS = 10**15
_LARGEST = 1 << 20  # items of a batch that anybody could mean

_LOG = logging.getLogger(__name__)


class BatchNotes:
    """Of one model on one device."""

    def __init__(self, state_dir: Path, *, model_version: str, device: str, threads: int) -> None:
        """`device`: what it is, such as `cpu` or `cuda:0 NVIDIA A100`; of `cpu` the processor's name is added."""
        place = f"{device} {processor_name()}" if device == "cpu" else device
        name = hashlib.sha256(json.dumps([FORMAT, model_version, place, threads]).encode()).hexdigest()[:32]
        self.path = state_dir / "tuning" / "batches" / f"{name}.json"

    def read(self) -> BatchRecord:
        """What was written last; nothing known where there is nothing that can be used."""
        try:
            with open(self.path, "rb") as file:
                return _record(json.loads(file.read(_LONGEST_BYTES)))
        except FileNotFoundError:
            return BatchRecord()
        except (OSError, ValueError, RecursionError) as error:
            _LOG.warning("%s says nothing of batch sizes: %s", self.path, error)
            return BatchRecord()

    def write(self, record: BatchRecord, *, with_ceiling: bool) -> None:
        """Puts `record` in the place of what is there. Raises OSError.

        Without its ceiling that of the file stays: another instance may have learnt one that this one never met.
        """
        found = self.read()
        ceiling = record.ceiling if with_ceiling else found.ceiling
        sizes = {str(size): [round(ns), count] for size, (ns, count) in {**found.measured, **record.measured}.items()}
        content = json.dumps({"format": FORMAT, "ceiling": list(ceiling), "measured": sizes})
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        half = self.path.with_name(f"{self.path.name}.{os.getpid()}-{threading.get_ident()}")
        try:
            with open(half, "w", opener=_private) as file:
                file.write(content)
            half.replace(self.path)
        except OSError:
            with contextlib.suppress(OSError):
                half.unlink()
            raise
        _forget_old(self.path.parent)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _record(value: Any) -> BatchRecord:
    """Raises ValueError for anything that was not written here."""
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ValueError("it has another format")
    ceiling, sizes = value.get("ceiling"), value.get("measured")
    if not isinstance(ceiling, list) or len(ceiling) != len(CeilingRecord._fields) or not all(map(_is_size, ceiling)):
        raise ValueError(f"a ceiling of {ceiling!r}")
    if not isinstance(sizes, dict) or not all(map(_is_measured, sizes.values())):
        raise ValueError(f"measures of {sizes!r}")
    return BatchRecord(CeilingRecord(*ceiling), {int(size): Measured(*found) for size, found in sizes.items()})


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value <= _LARGEST


def _is_measured(value: object) -> bool:
    """Nanoseconds, and how often they were measured."""
    pair = value if isinstance(value, list) and len(value) == 2 else [0, 0]
    return all(type(each) is int and 0 < each < _LONGEST_NS for each in pair)


def _forget_old(folder: Path) -> None:
    """Also what was left half-written by a process that died."""
    found: list[tuple[float, Path]] = []
    for each in folder.iterdir():
        with contextlib.suppress(OSError):
            found.append((each.stat().st_mtime, each))
    for _, old in sorted(found, reverse=True)[KEPT_FILES:]:
        with contextlib.suppress(OSError):
            old.unlink()
