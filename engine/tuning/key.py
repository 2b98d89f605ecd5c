"""What a result of trials holds for: change any of it, and the model is tried again."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import itertools
import json
import os
import queue
import threading
from dataclasses import dataclass
from pathlib import Path

from engine.tuning.terms import TuningTerms

FORMAT = 1  # of results and of what trials do: higher where an old result would mislead
MOST_COUNTED = 1 << 17  # files; 0.1 s of looking
LONGEST_COUNT_S = 10.0
DISTRIBUTIONS = ("torch", "onnxruntime", "openvino", "onnx", "nightscan-engine")

_HELD_CHARACTERS = 32  # of the hash, 128 bits: names of folders that nobody mixes up by chance
_INSTRUCTION_SETS = ("sse", "ssse", "avx", "amx", "fma", "f16c", "bmi")  # beginnings of flags that runtimes look at


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningKey:
    """Equal keys: what was found for one is true for the other. `name` is that of the folder."""

    model_version: str  # of the model as it came
    device: str  # `cpu`, `cuda`
    processor: str  # what it says of itself, with what it can compute with
    threads: int
    max_batch_size: int
    versions: tuple[tuple[str, str], ...]
    terms: str  # what of them decides, as JSON
    calibration: int  # how often the number of files in calibration_dir has doubled; -1 without one
    format: int = FORMAT

    @classmethod
    def here(
        cls, terms: TuningTerms, *, model_version: str, device: str, threads: int, max_batch_size: int
    ) -> TuningKey:
        """The key on this machine.

        `device`: `cpu` or `cuda:N`. Counts the files in `calibration_dir`, and raises nothing where there is none.
        """
        kind = device.partition(":")[0]
        return cls(
            model_version=model_version,
            device=kind,
            processor=processor() if kind == "cpu" else f"{processor()} {' '.join(graphics())}",
            threads=threads,
            max_batch_size=max_batch_size,
            versions=installed_versions(),
            terms=json.dumps(terms.deciding(), sort_keys=True),
            calibration=_doublings(Path(terms.calibration_dir)) if terms.calibration_dir else -1,
        )

    @property
    def name(self) -> str:
        content = json.dumps(dataclasses.asdict(self), sort_keys=True).encode()
        return hashlib.sha256(content).hexdigest()[:_HELD_CHARACTERS]


def processor() -> str:
    """What the processor calls itself, and the instruction sets that runtimes choose by."""
    return f"{processor_name()} [{' '.join(sorted(instruction_sets()))}]"


def processor_name() -> str:
    """As /proc/cpuinfo has it; the kind of machine where that says nothing."""
    return _cpuinfo().get("model name") or os.uname().machine


def instruction_sets() -> frozenset[str]:
    """Such as `avx512_bf16`, as Linux names them."""
    return frozenset(flag for flag in _cpuinfo().get("flags", "").split() if flag.startswith(_INSTRUCTION_SETS))


def graphics() -> list[str]:
    """What the CUDA devices of this machine are called, and their driver; found out without torch.

    Of devices of several kinds each result holds for the machine as a whole: it is tried again where one is changed.
    """
    drivers = Path("/proc/driver/nvidia")
    lines = [line for each in sorted(drivers.glob("gpus/*/information")) for line in _lines(each)]
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("Model")]
    return sorted(models) + _lines(drivers / "version")[:1]


def installed_versions() -> tuple[tuple[str, str], ...]:
    """Name and version of everything that a form is made and computed with; an empty version: not installed."""
    return tuple((name, installed_version(name)) for name in DISTRIBUTIONS)


def installed_version(distribution: str) -> str:
    """Empty where it is not installed. Found out without importing it."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _cpuinfo() -> dict[str, str]:
    """The first processor's lines; the others are taken for equal."""
    lines = _lines(Path("/proc/cpuinfo"))
    pairs = (line.partition(":") for line in itertools.takewhile(str.strip, lines))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _lines(path: Path) -> list[str]:
    """None where there is no such file."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _doublings(folder: Path) -> int:
    """Of the number of files under `folder`, 0 for none. Links to folders are not followed.

    No more is looked at: recordings arrive every night in a folder that is in use, and a form that was near enough on
    those of yesterday is so today. A name that each of them changed would have every start without its form.
    """
    found: queue.SimpleQueue[int] = queue.SimpleQueue()
    threading.Thread(target=lambda: found.put(_files_in(folder)), name="counting", daemon=True).start()
    try:
        return found.get(timeout=LONGEST_COUNT_S).bit_length()
    except queue.Empty:  # a network mount that hangs: no start waits for it
        return 0


def _files_in(folder: Path) -> int:
    """At most MOST_COUNTED; of a tree of empty folders no more is looked at either."""
    count = seen = 0
    for _, _, names in os.walk(folder):
        count, seen = count + len(names), seen + len(names) + 1
        if seen >= MOST_COUNTED:
            break
    return min(count, MOST_COUNTED)
