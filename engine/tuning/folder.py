"""Where what trials found lies, and how it gets there so that nobody ever reads half of it.

```
state_dir/tuning/KEY.lock      flock: whoever tries this model has it, over all engines and processes
state_dir/tuning/KEY.work/     what the holder of the lock is making; without a holder, left by a dead one
state_dir/tuning/KEY/          complete: artefacts and result.json, which has the SHA-256 of each
```

KEY.work becomes KEY by one rename, after everything in it is on the disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from engine.errors import TuningDamaged
from engine.tuning.key import TuningKey
from engine.tuning.lock import TuningLock
from engine.tuning.result import TuningResult
from engine.tuning.terms import TuningTerms

RESULT = "result.json"
KEPT_RESULTS = 64  # of models, versions and settings that were served before: what was used last is kept

_LOG = logging.getLogger(__name__)


class TuningFolder:
    """Of one key. Reading needs no lock; making does."""

    def __init__(self, terms: TuningTerms, key: TuningKey) -> None:
        self.path = terms.folder / key.name
        self.work = self.path.with_name(f"{key.name}.work")
        self._lock = self.path.with_name(f"{key.name}.lock")

    def lock(self, *, limit_s: float) -> TuningLock | None:
        """The right to try this model, waited for; None when others have it for longer than `limit_s`.

        Raises OSError where the folder cannot be made or written.
        """
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return TuningLock.take(self._lock, limit_s=limit_s)

    def begin(self) -> None:
        """An empty `work`; what dead ones have left, here and in others, is gone. Needs the lock. Raises OSError."""
        remove_leftovers(self.path.parent)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.work)
        self.work.mkdir(mode=0o700)

    def finish(self, result: TuningResult) -> None:
        """Writes `result`, whose artefacts lie in `work`, and puts all of it in place. Needs the lock.

        Raises OSError; then nothing is in place that was not before.
        """
        for name in result.artefacts:
            _sync(self.work / name)
        with open(self.work / RESULT, "xb") as file:
            file.write(result.to_bytes())
        _sync(self.work / RESULT)
        _sync(self.work)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.path)  # damaged, else nobody would have tried again
        self.work.rename(self.path)
        _sync(self.path.parent)
        _forget_old(self.path.parent)

    def give_up(self) -> None:
        """Removes what was made so far. Needs the lock."""
        shutil.rmtree(self.work, ignore_errors=True)


def touch(folder: Path) -> None:
    """Says that the result in `folder` is used: those used last are kept longest."""
    with contextlib.suppress(OSError):  # of a disk that is full or read-only, or of others' results
        os.utime(folder / RESULT)


def remove_leftovers(folder: Path) -> None:
    """Removes what trials that were killed have left in the folder of all results; nothing that somebody makes now."""
    for work in folder.glob("*.work"):
        with contextlib.suppress(OSError):  # what cannot be removed now is tried again by the next one
            if (lock := TuningLock.take(work.with_suffix(".lock"), limit_s=0.0)) is not None:
                shutil.rmtree(work, ignore_errors=True)
                if work.with_suffix("").exists():
                    lock.release()
                else:
                    lock.remove()


def read(folder: Path) -> TuningResult | None:
    """What lies in `folder`, complete and undamaged; None if there is nothing of the kind, the reason in the log."""
    try:
        return read_checked(folder)
    except FileNotFoundError:
        return None
    except (TuningDamaged, OSError) as error:
        _LOG.warning("%s is not used: %s", folder, error)
        return None


def read_checked(folder: Path) -> TuningResult:
    """The same, but raises TuningDamaged for what is damaged and OSError for what cannot be read.

    FileNotFoundError: there is no result. Reads every artefact, so it takes some tenths of a second.
    """
    result = TuningResult.from_bytes((folder / RESULT).read_bytes())
    for name, wanted in result.artefacts.items():
        try:
            found = sha256_of(folder / name)
        except FileNotFoundError as error:
            raise TuningDamaged(f"{name} is not there") from error
        if found != wanted:
            raise TuningDamaged(f"the checksum of {name} is wrong")
    return result


def checksums(folder: Path, names: list[str]) -> Mapping[str, str]:
    """SHA-256 of files in `folder`, for `TuningResult.artefacts`. Raises OSError."""
    return {name: sha256_of(folder / name) for name in names}


def sha256_of(path: Path) -> str:
    """Of a file, read piece by piece. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    """What was written to it survives a loss of power."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _forget_old(folder: Path) -> None:
    """Removes all but the results that were used last, and what was left of them; nothing that others make now."""
    found: list[tuple[float, Path]] = []
    for each in folder.iterdir():
        with contextlib.suppress(OSError):
            found.append(((each / RESULT).stat().st_mtime, each))
    for _, old in sorted(found, reverse=True)[KEPT_RESULTS:]:
        with contextlib.suppress(OSError):  # what cannot be removed now is tried again by the next one
            if (lock := TuningLock.take(old.with_name(f"{old.name}.lock"), limit_s=0.0)) is not None:
                shutil.rmtree(old, ignore_errors=True)
                lock.remove()
