"""Windows out of an operator's recordings: bounded in time and memory for any folder.

A hundred thousand files are listed but only some hundred of them opened; of ten hours a few stretches are read. What
cannot be read is counted and named, and costs nothing else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import soxr

from engine.clock import Deadline
from engine.trials.base_sounds import Floats

MOST_ENTRIES = 200_000  # of a folder that are looked at
MOST_READ_S = 20.0  # seconds for all recordings together
_NAMED = 3  # of the files that cannot be read
_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".au", ".caf", ".w64", ".rf64")
_CANCELLED = 0.01  # of power: where the mean of the channels is 20 dB below the loudest, that one is heard


@dataclass(slots=True)
class ReadingReport:
    """What came of reading recordings. Only `Recordings` writes it."""

    recordings: int = 0
    unreadable: list[str] = field(default_factory=list)
    ran_out_of_time: bool = False

    def __str__(self) -> str:
        text = f"{self.recordings} recordings"
        if self.unreadable:
            more = ", ..." if len(self.unreadable) > _NAMED else ""
            named = ", ".join(self.unreadable[:_NAMED])
            text += f", {len(self.unreadable)} that could not be read ({named}{more})"
        return text + (f", no more than {MOST_READ_S:g} s of reading" if self.ran_out_of_time else "")


def recordings_in(folder: str) -> list[str]:
    """Paths of the recordings below a folder, in an order that is chance but always the same.

    Folders that cannot be listed and links to folders are passed over. Raises OSError where `folder` is none.
    """
    os.scandir(folder).close()
    found: list[str] = []
    seen = 0
    for place, folders, names in os.walk(folder):
        folders.sort()
        found += [os.path.join(place, name) for name in names if name.lower().endswith(_SUFFIXES)]
        seen += len(names) + 1
        if seen >= MOST_ENTRIES:
            break
    found.sort()
    return [found[index] for index in np.random.default_rng(0).permutation(len(found))]


@dataclass(frozen=True, slots=True)
class Recordings:
    """Recordings to take windows from, each opened once."""

    paths: Sequence[str]
    rate_hz: int  # of the windows
    frames: int  # of a window
    peak_normalise: bool
    report: ReadingReport = field(default_factory=ReadingReport)

    def windows(self, each: int, deadline: Deadline) -> Iterator[list[Floats]]:
        """Of one recording after the other its windows float32 `[at most frames]`: at most `each`, in the order of
        time, none overlapping another.

        Where wanted they are scaled to the highest sample of what was read: of the recording, where it is short.
        """
        for path in self.paths:
            if deadline.expired:
                self.report.ran_out_of_time = True
                return
            try:
                windows = _read(path, each, self.rate_hz, self.frames, deadline)
            except (OSError, RuntimeError, ValueError) as error:  # libsndfile and soxr raise the latter two
                self.report.unreadable.append(f"{Path(path).name}: {error}")
                continue
            self.report.recordings += 1
            peak = max(float(np.abs(window).max(initial=0.0)) for window in windows)
            yield [window / peak for window in windows] if self.peak_normalise and peak else windows


def _read(path: str, each: int, rate_hz: int, frames: int, deadline: Deadline) -> list[Floats]:
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("no regular file")  # a pipe would be waited for
    with soundfile.SoundFile(path) as file:
        wanted = -(-frames * file.samplerate // rate_hz)
        count = max(1, min(each, file.frames // wanted))
        spacing = file.frames // count
        file_rate_hz, read = file.samplerate, []
        for number in range(count):
            read.append(_stretch(file, number * spacing, min(wanted, spacing)))
            if deadline.expired:  # of some formats every seek decodes the hours before it
                break
    if not any(map(len, read)):
        raise OSError("no frame in it")
    return [np.asarray(soxr.resample(piece, file_rate_hz, rate_hz)[:frames], np.float32) for piece in read]


def _stretch(file: soundfile.SoundFile, start: int, frames: int) -> Floats:
    file.seek(start)
    samples = file.read(frames, dtype="float32", always_2d=True)
    if not len(samples):
        return np.empty(0, np.float32)
    if not np.isfinite(samples).all():
        raise OSError("samples that are not finite numbers")
    powers = samples.var(axis=0)
    mean: Floats = samples.mean(axis=1, dtype=np.float32)
    if mean.var() < _CANCELLED * powers.max():
        return np.ascontiguousarray(samples[:, int(powers.argmax())])
    return mean
